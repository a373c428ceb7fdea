/**
 * Runs the shell blocks of docs/operations.md, each command as written, by a shell, in a temporary folder. `muster server`
 * commands keep running, like services. A test file runs the sections that it names, in the page's order; together the
 * files run them all.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { Consistency, MemberRole, MemberTarget, MusterClient } from "../../../src/client";
import type { GetClusterResponse } from "../../../src/client";
import { Child, MAIN, ROOT, tail, until } from "./processes";

/** The ports on the page, as offsets from the first one. */
export const OFFSETS = [0, 1, 2, 10, 11, 12, 20, 21, 22, 23, 30, 31, 40, 41, 50, 51];
const FIRST_PORT = 7460;
/** Where the tools are that the page uses beside `muster`. */
const TOOLS = join(ROOT, "node_modules/.bin");
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
export class Site {
  readonly folder = mkdtempSync(join(tmpdir(), "muster-operations-"));
  readonly members = new Map<string, Child>();
  /** What each member was started with last. */
  private readonly words = new Map<string, readonly string[]>();
  private readonly blocks: Block[];
  private client: MusterClient | null = null;
  /** The output of each command, in order. */
  readonly outputs: { readonly command: string; readonly stdout: string; readonly stderr: string }[] = [];

  /** @param headings the sections whose blocks run; several of them in the page's order */
  constructor(
    private readonly base: number,
    headings: readonly string[],
  ) {
    const page = readFileSync(join(ROOT, "docs/operations.md"), "utf8");
    const port = (text: string): string => String(base + Number(text) - FIRST_PORT);
    this.blocks = blocksOf(
      page.replaceAll(/127\.0\.0\.1:(\d+)/g, (_, text: string) => `127.0.0.1:${port(text)}`),
    ).filter(({ heading }) => headings.includes(heading));
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
      env: { PATH: [join(this.folder, "bin"), TOOLS, process.env["PATH"] ?? ""].join(delimiter) },
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
    this.words.set(name, words);
    this.members.set(
      name,
      new Child(process.execPath, [MAIN, ...words], { cwd: this.folder, channel: true }),
    );
  }

  /** Starts a member that was stopped, with the command of before. */
  restart(name: string): void {
    const words = this.words.get(name);
    if (words === undefined) throw new Error(`${name} never ran`);
    this.serve(words);
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

  /** The leader's view of the cluster. */
  cluster(): Promise<GetClusterResponse> {
    this.client ??= new MusterClient({
      endpoints: this.adminPorts.map((port) => `127.0.0.1:${port}`),
      timeoutMs: 3000,
    });
    return this.client.getCluster({ consistency: Consistency.LINEARIZABLE });
  }

  /** Waits until all of `names` run in the cluster, have caught up, and vote unless they are to stay learners. @returns the cluster's answer */
  async settled(names: readonly string[]): Promise<GetClusterResponse> {
    let found: GetClusterResponse | null = null;
    let seen = "";
    const holds = async (): Promise<boolean> => {
      try {
        found = await this.cluster();
      } catch (error) {
        seen = String(error);
        return false;
      }
      seen = JSON.stringify(
        found.members.map((m) => [m.member?.name, m.member?.started, m.reachable, `${m.lagEntries}`]),
      );
      const well = found.members.filter(
        ({ member, reachable, lagEntries }) =>
          member?.started === true &&
          (member.role === MemberRole.VOTER || member.target !== MemberTarget.VOTER) &&
          reachable === true &&
          lagEntries === 0n,
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

  /** Kills every member that runs. */
  async killAll(): Promise<void> {
    for (const child of this.members.values()) child.signal("SIGKILL");
    await Promise.all([...this.members.values()].map((child) => child.exited));
  }

  async destroy(): Promise<void> {
    this.client?.close();
    await this.killAll();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
