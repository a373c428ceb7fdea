/**
 * Runs the sections of docs/operations.md about the daily work: doctor, the leadership, a rolling restart, health, the unit
 * file and the configuration for several hosts.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VERSION } from "../../src/base/version";
import { checkFirstStart, loadConfig } from "../../src/server/config";
import { OFFSETS, Site } from "./support/operations_page";
import { Child, MAIN, ROOT, ensureBuilt, freePortBlock, killLeftovers, until } from "./support/processes";

jest.setTimeout(240_000);

const SECTIONS = [
  "The example",
  "What is wrong",
  "Move the leadership",
  "Rolling restart and upgrade",
  "Liveness and readiness",
];
const NAMES = ["n1", "n2", "n3"];

let site: Site | null = null;

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);
afterEach(async () => {
  await site?.destroy();
  site = null;
});

/** The fenced block of that language below a heading. */
function blockOf(heading: string, language: string): string {
  const page = readFileSync(join(ROOT, "docs/operations.md"), "utf8");
  const section = page.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  return new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(section)?.[1] ?? "";
}

/** Keys that stand twice in one line of JSON. */
function doubledKeys(line: string): string[] {
  const keys = [...line.matchAll(/[{,]"(\w+)":/g)].map((match) => match[1] ?? "");
  return keys.filter((key, i) => keys.indexOf(key) < i);
}

test("doctor, leadership, a rolling restart and health do what the page says", async () => {
  const here = new Site(await freePortBlock(OFFSETS), SECTIONS);
  site = here;
  const last = (): string => here.outputs.at(-1)?.stdout ?? "";
  await here.run("The example");
  await here.settled(NAMES);

  await here.run("What is wrong");
  expect(last()).toMatch(/^healthy: cluster [0-9a-f]+\nleader: n\d\nsurvives now: 1 failure; /);
  await here.run("What is wrong");
  expect(readFileSync(join(here.folder, "last.note"), "utf8")).toContain("no quorum confirmed");
  expect(last()).toContain("whole; cluster");

  await here.run("Move the leadership");
  expect(last()).toMatch(/^n1 \([0-9a-f]+\) leads, in term \d+\n$/);

  await here.run("Rolling restart and upgrade");
  expect(last()).toMatch(/^n2 /);
  await here.stop("n1");
  // The leader counts a member as in contact until an election timeout after its last answer.
  await until("n1 is missed", async () => {
    const { members } = await here.cluster();
    return members.some(({ member, reachable }) => member?.name === "n1" && reachable === false);
  });
  await here.run("Rolling restart and upgrade");
  expect(last()).toContain("survives now: no failure; with all voters well: 1 failure");
  expect(last()).toContain("what to do next:\n  1. start n1");
  await here.run("Rolling restart and upgrade");
  expect(readFileSync(join(here.folder, "doctor.txt"), "utf8")).toMatch(/^healthy/);
  await here.run("Rolling restart and upgrade");
  const features = expect.arrayContaining(["change", "promote", "target"]) as unknown;
  expect(JSON.parse(last())).toMatchObject({ clusterVersion: VERSION, features });

  await here.run("Liveness and readiness");
  expect(JSON.parse(last())).toEqual({ status: "SERVING" });

  expect(here.left).toEqual([]);
  const lines = [...here.members.values()].flatMap(({ stderr }) =>
    stderr.split("\n").filter((line) => line !== ""),
  );
  expect(lines.length).toBeGreaterThan(3);
  expect(lines.flatMap(doubledKeys)).toEqual([]);
  expect(lines.filter((line) => line.includes('"peer":') && !line.includes('"peer_name":'))).toEqual([]);
});

test("the unit file starts a member from the configuration for several hosts, and does not restart one that ended for good", async () => {
  const folder = mkdtempSync(join(tmpdir(), "muster-unit-"));
  try {
    const unit = blockOf("A systemd unit", "ini");
    const start = /^ExecStart=\/usr\/bin\/env muster (.*)$/m.exec(unit)?.[1]?.split(" ") ?? [];
    const codes = /^RestartPreventExitStatus=(.*)$/m.exec(unit)?.[1]?.split(" ");
    expect(codes).toEqual(["2", "8", "9"]);
    const text = blockOf("Several hosts", "yaml");
    const file = join(folder, "node.yaml");
    writeFileSync(file, text);
    expect(() => checkFirstStart(loadConfig({ file, flags: {}, env: {} }))).not.toThrow();

    // On one host: other addresses, and a cluster of one.
    const base = await freePortBlock([0, 1]);
    const peerUrl = `http://127.0.0.1:${base + 1}`;
    const local = text
      .replace(/^admin-url: .*$/m, `admin-url: http://127.0.0.1:${base}`)
      .replace(/^peer-url: .*$/m, `peer-url: ${peerUrl}`)
      .replace(/^data-dir: .*$/m, `data-dir: ${join(folder, "data")}`)
      .replace(/^initial-cluster: .*$/m, `initial-cluster: n1=${peerUrl}`);
    writeFileSync(file, local);
    const words = start.map((word) => (word === "/etc/muster/node.yaml" ? file : word));
    const member = new Child(process.execPath, [MAIN, ...words], { channel: true });
    await until(
      "it leads",
      () => member.stderr.includes("this member leads"),
      () => member.stderr,
    );
    member.signal("SIGTERM");
    expect(await member.end()).toEqual({ code: 0, signal: null });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
