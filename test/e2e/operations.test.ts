/**
 * Runs docs/operations.md: every command of every block, in the page's order, by a shell, in a temporary folder.
 * `muster server` commands keep running, like services. Actions that only the page's text describes (stop a member, a
 * damaged disk) are done here.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { Consistency, MusterClient } from "../../src/client";
import type { GetClusterResponse } from "../../src/client";
import {
  Child,
  ensureBuilt,
  freePortBlock,
  killLeftovers,
  MAIN,
  ROOT,
  tail,
  until,
} from "./support/processes";

jest.setTimeout(240_000);

/** The ports on the page, as offsets from the first one. */
const OFFSETS = [0, 1, 10, 11, 20, 21, 31];
const FIRST_PORT = 7460;
const EXITS = / # exits with (\d+)$/;

interface Block {
  readonly heading: string;
  /** The commands of the block; continued lines are joined. */
  readonly commands: readonly string[];
}

/** The shell blocks of the page, each with the heading above it. */
function blocksOf(page: string): Block[] {
  const blocks: Block[] = [];
  let heading = "";
  let inside: string[] | null = null;
  for (const line of page.split("\n")) {
    if (inside === null && line.startsWith("## ")) heading = line.slice(3);
    else if (inside === null && line === "```sh") inside = [];
    else if (inside !== null && line === "```") {
      const text = inside.join("\n").replaceAll(/ \\\n +/g, " ");
      blocks.push({ heading, commands: text.split("\n") });
      inside = null;
    } else inside?.push(line);
  }
  return blocks;
}

/** The folder in which the commands run, and the members that run there. */
class Site {
  readonly folder = mkdtempSync(join(tmpdir(), "muster-operations-"));
  readonly members = new Map<string, Child>();
  private readonly blocks: Block[];
  private client: MusterClient | null = null;
  /** The output of each command, in order. */
  readonly outputs: { readonly command: string; readonly stdout: string; readonly stderr: string }[] = [];

  constructor(private readonly base: number) {
    const page = readFileSync(join(ROOT, "docs/operations.md"), "utf8");
    const port = (text: string): string => String(base + Number(text) - FIRST_PORT);
    this.blocks = blocksOf(
      page.replaceAll(/127\.0\.0\.1:(\d+)/g, (_, text: string) => `127.0.0.1:${port(text)}`),
    );
    mkdirSync(join(this.folder, "bin"));
    const command = join(this.folder, "bin/muster");
    writeFileSync(command, `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`);
    chmodSync(command, 0o755);
  }

  /** Commands that have not run yet. */
  get left(): string[] {
    return this.blocks.flatMap(({ commands }) => commands);
  }

  /** Runs the next block, which must be below `heading`. */
  async run(heading: string): Promise<void> {
    const block = this.blocks.shift();
    if (block?.heading !== heading) {
      throw new Error(
        `the next block of the page is not of ${heading}, but of ${block?.heading ?? "nothing"}`,
      );
    }
    for (const command of block.commands) await this.runCommand(command);
  }

  private async runCommand(command: string): Promise<void> {
    if (command.startsWith("muster server ")) {
      this.serve(command.split(" ").slice(1));
      return;
    }
    const wanted = Number(EXITS.exec(command)?.[1] ?? 0);
    const child = new Child("/bin/sh", ["-c", command], {
      cwd: this.folder,
      env: { PATH: `${join(this.folder, "bin")}${delimiter}${process.env["PATH"] ?? ""}` },
    });
    const { code } = await child.end();
    const { stdout, stderr } = child;
    this.outputs.push({ command, stdout, stderr });
    expect({ command, code, stderr: wanted === 0 ? stderr : "" }).toEqual({
      command,
      code: wanted,
      stderr: "",
    });
  }

  private serve(words: readonly string[]): void {
    const name = words[words.indexOf("--name") + 1] ?? "";
    if (this.members.get(name)?.exit === null) throw new Error(`${name} runs already`);
    this.members.set(
      name,
      new Child(process.execPath, [MAIN, ...words], { cwd: this.folder, channel: true }),
    );
  }

  /** Stops a member as a service manager does. */
  async stop(name: string): Promise<void> {
    const child = this.members.get(name);
    child?.signal("SIGTERM");
    expect(await child?.end()).toEqual({ code: 0, signal: null });
  }

  get adminPorts(): number[] {
    return [0, 10, 20].map((offset) => this.base + offset);
  }

  /** Waits until all of `names` run in the cluster and have caught up. @returns the cluster's answer */
  async settled(names: readonly string[]): Promise<GetClusterResponse> {
    this.client ??= new MusterClient({
      endpoints: this.adminPorts.map((port) => `127.0.0.1:${port}`),
      timeoutMs: 3000,
    });
    const { client } = this;
    let found: GetClusterResponse | null = null;
    let seen = "";
    const holds = async (): Promise<boolean> => {
      try {
        found = await client.getCluster({ consistency: Consistency.LINEARIZABLE });
      } catch (error) {
        seen = String(error);
        return false;
      }
      seen = JSON.stringify(
        found.members.map((m) => [m.member?.name, m.member?.started, m.reachable, `${m.lagEntries}`]),
      );
      const well = found.members.filter(
        (m) => m.member?.started === true && m.reachable === true && m.lagEntries === 0n,
      );
      return (
        well
          .map(({ member }) => member?.name)
          .sort()
          .join() === names.join() && found.members.length === names.length
      );
    };
    await until(`${names.join()} run and have everything`, holds, () => `${seen}\n${this.output()}`);
    if (found === null) throw new Error("no answer");
    return found;
  }

  output(): string {
    return [...this.members].map(([name, child]) => `--- ${name}\n${tail(child.stderr)}`).join("\n");
  }

  async destroy(): Promise<void> {
    this.client?.close();
    for (const child of this.members.values()) child.signal("SIGKILL");
    await Promise.all([...this.members.values()].map((child) => child.exited));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

let site: Site;

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);
afterEach(() => site.destroy());

/** Changes one bit of a record in the middle of the log. */
function damage(dataDir: string): string {
  const folder = join(dataDir, "member");
  const [segment = ""] = readdirSync(folder).filter((name) => name.endsWith(".wal"));
  const file = join(folder, segment);
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(200) ^ 0x10, 200);
  writeFileSync(file, bytes);
  return file;
}

const names = ["n1", "n2", "n3"];
const idsOf = ({ members }: GetClusterResponse): string[] => members.map(({ member }) => member?.id ?? "");

test("every command of docs/operations.md does what the page says", async () => {
  site = new Site(await freePortBlock(OFFSETS));
  const lastOutput = (): string => site.outputs.at(-1)?.stdout ?? "";

  await site.run("The example");
  const before = await site.settled(names);

  await site.run("Backup");
  expect(lastOutput()).toContain(`whole; cluster ${before.header?.clusterId ?? ""}`);
  expect(existsSync(join(site.folder, "monday.backup"))).toBe(true);

  // "Stop every member of the old cluster that still runs."
  await Promise.all(names.map((name) => site.stop(name)));
  await site.run("Restore");
  const newIds = site.outputs.slice(-3).map(({ stdout }) => /new cluster ([0-9a-f]+),/.exec(stdout)?.[1]);
  expect(new Set(newIds).size).toBe(1);
  await site.run("Restore");
  const restored = await site.settled(names);
  expect(restored.header?.clusterId).toBe(newIds[0]);
  expect(restored.header?.clusterId).not.toBe(before.header?.clusterId);
  expect(restored.header?.revision).toBeGreaterThan(before.header?.revision ?? 0n);
  expect(idsOf(restored).filter((id) => idsOf(before).includes(id))).toEqual([]);
  await site.run("Restore");
  for (const id of idsOf(restored)) expect(lastOutput()).toContain(id);
  await site.run("Restore");
  expect(lastOutput()).toContain("no entries");

  // A damaged disk: the member does not start, and names the place.
  await site.stop("n3");
  const damaged = damage(join(site.folder, "n3.restored"));
  await site.run("Replace a damaged member");
  expect(site.outputs.at(-1)?.stderr).toMatch(
    new RegExp(`n3\\.restored/member/\\d+\\.wal is damaged at byte \\d+`),
  );
  expect(existsSync(damaged)).toBe(true);
  await site.run("Replace a damaged member");
  await site.run("Replace a damaged member");
  const replaced = await site.settled(names);
  expect(idsOf(replaced).filter((id) => idsOf(restored).includes(id))).toHaveLength(2);
  await site.run("Replace a damaged member");

  await site.run("Disk full");
  // "Stop it, copy the whole directory, start it with the copy."
  await site.stop("n1");
  await site.run("Disk full");
  const moved = await site.settled(names);
  expect(idsOf(moved)).toEqual(idsOf(replaced));
  expect(existsSync(join(site.folder, "n1.restored"))).toBe(false);

  expect(site.left).toEqual([]);
  expect(site.outputs.length).toBeGreaterThan(15);
});
