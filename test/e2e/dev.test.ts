/**
 * `muster dev` as a user runs it: its output, the printed calls pasted into a shell, Ctrl-C, and a member that is killed.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { MusterClient } from "../../src/client";
import {
  Child,
  ensureBuilt,
  freePortBlock,
  isFree,
  killLeftovers,
  ROOT,
  tail,
  until,
} from "./support/processes";

const NODES = 3;
/** Ports of `muster dev` and of the member that its printed calls add. */
const OFFSETS = [0, 1, 10, 11, 20, 21, 30, 31];
const TIMEOUT_MS = 150_000;

interface Dev {
  readonly child: Child;
  readonly base: number;
  readonly ports: readonly number[];
}

let started: Dev[] = [];

beforeAll(ensureBuilt, 120_000);
afterEach(async () => {
  for (const { child } of started) child.signal("SIGINT");
  for (const dev of started) {
    await dev.child.end();
    await allPortsFree(dev);
  }
  started = [];
});
afterAll(killLeftovers);

/** Runs `muster dev` in the repository, as at the beginning of the README. */
async function startDev(...flags: string[]): Promise<Dev> {
  const base = await freePortBlock(OFFSETS);
  const words = ["dist/cli/main.js", "dev", "--base-port", String(base), ...flags];
  const child = new Child(process.execPath, words, { cwd: ROOT });
  const dev = { child, base, ports: OFFSETS.slice(0, 2 * NODES).map((offset) => base + offset) };
  started.push(dev);
  await until(
    "muster dev shows its cluster",
    () => child.stdout.includes("Ctrl-C stops the cluster.") || child.exit !== null,
    () => tail(child.stdout + child.stderr),
  );
  return dev;
}

async function allPortsFree({ ports }: Dev): Promise<void> {
  await until("every member has ended", async () => (await Promise.all(ports.map(isFree))).every(Boolean));
}

/** The process id of one member, found by its command line. */
function memberPid(dev: Dev, name: string): number {
  const table = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" });
  for (const line of table.split("\n")) {
    const [, pid, parent, args = ""] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    if (Number(parent) === dev.child.pid && args.includes(` --name ${name} `)) return Number(pid);
  }
  throw new Error(`${name} does not run:\n${table}`);
}

/** The calls that `muster dev` prints, without indentation. */
function printedCalls({ child }: Dev): string[] {
  const [, calls = ""] = child.stdout.split("from another terminal:\n");
  return calls.split("\n").flatMap((line) => (line.startsWith("  ") ? [line.trim()] : []));
}

async function shell(line: string) {
  const child = new Child("sh", ["-c", line], { cwd: ROOT });
  const { code } = await child.end();
  return { line, code, stdout: child.stdout, stderr: child.stderr };
}

test(
  "shows three members and the leader, its printed calls work when pasted, and Ctrl-C stops all",
  async () => {
    const dev = await startDev();
    const { child, base } = dev;
    for (const [i, name] of ["n1", "n2", "n3"].entries()) {
      const [admin, peer] = [base + 10 * i, base + 10 * i + 1];
      const state = "(leader|ok)";
      const urls = `http://127.0.0.1:${peer} +http://127.0.0.1:${admin}`;
      expect(child.stdout).toMatch(new RegExp(`^[0-9a-f]+ +${name} +voter +- +${state} .* ${urls}$`, "m"));
    }
    expect(child.stdout).toMatch(/^leader: n[123] \([0-9a-f]+\) at http:\/\/127\.0\.0\.1:\d+$/m);

    const calls = printedCalls(dev);
    const [musterCalls, curlCalls] = ["node dist/cli/main.js ", "npx buf curl "].map((start) =>
      calls.filter((call) => call.startsWith(start)),
    );
    // Every printed call is one of these, or is for a tool that may be missing: no other call is left untested.
    const others = calls.filter((call) => !musterCalls?.includes(call) && !curlCalls?.includes(call));
    expect(others).toEqual([
      expect.stringMatching(
        /^grpcurl -plaintext 127\.0\.0\.1:\d+ muster\.v1\.MembershipService\/GetMembers$/,
      ),
    ]);
    expect(musterCalls?.map((call) => call.split(" ").slice(2, 4).join(" "))).toEqual([
      "member list",
      "cluster --output",
      "member add",
      "member remove",
    ]);
    const outputs: string[] = [];
    for (const call of [...(musterCalls ?? []), ...(curlCalls ?? [])]) {
      const { code, stdout, stderr } = await shell(call);
      expect({ call, code, stderr: code === 0 ? "" : stderr }).toEqual({ call, code: 0, stderr: "" });
      outputs.push(stdout);
    }
    const [list, cluster, add, remove, members, dryRun] = outputs;
    for (const name of ["n1", "n2", "n3"])
      expect(list).toMatch(new RegExp(`^[0-9a-f]+ +${name} +voter `, "m"));
    expect(JSON.parse(cluster ?? "")).toMatchObject({ quorumSize: 2 });
    expect(add).toMatch(/^added member n4 /);
    expect(remove).toMatch(/^removed member n4 /);
    expect((JSON.parse(members ?? "") as { members: unknown[] }).members).toHaveLength(3);
    expect(JSON.parse(dryRun ?? "")).toMatchObject({ member: { name: "n4" } });

    child.signal("SIGINT");
    expect(await child.end()).toEqual({ code: 0, signal: null });
    await allPortsFree(dev);
    const folder = /^data and logs: (\S+) \(removed at exit\)$/m.exec(child.stderr)?.[1] ?? "";
    expect(() => readdirSync(folder)).toThrow("ENOENT");
  },
  TIMEOUT_MS,
);

test(
  "a member that is killed is reported and not restarted; the others go on",
  async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "muster-e2e-dev-"));
    try {
      const dev = await startDev("--data-dir", dataDir);
      const { child, base } = dev;
      process.kill(memberPid(dev, "n2"), "SIGKILL");
      await until("its death is reported", () => child.stderr.includes("muster: n2 ended: SIGKILL"));
      const client = new MusterClient({
        endpoints: [`127.0.0.1:${base}`, `127.0.0.1:${base + 20}`],
        timeoutMs: 20_000,
      });
      try {
        // Time in which a restart would show: the remaining two elect a leader, if needed, and commit a write.
        await client.updateAdminUrl({ name: "n2", adminUrls: ["http://10.0.0.2:7460"] });
      } finally {
        client.close();
      }
      expect(() => memberPid(dev, "n2")).toThrow("n2 does not run");
      expect(await Promise.all([base + 10, base + 11].map(isFree))).toEqual([true, true]);

      child.signal("SIGINT");
      expect(await child.end()).toEqual({ code: 0, signal: null });
      await allPortsFree(dev);
      // A data directory that was given as an option is kept.
      expect(readdirSync(dataDir)).toEqual(
        expect.arrayContaining(["n1", "n2", "n3", "n1.log", "n2.log", "n3.log"]),
      );
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  },
  TIMEOUT_MS,
);

test(
  "a port in use: one line, exit code 1, and nothing is started",
  async () => {
    const dev = await startDev();
    const second = new Child(process.execPath, ["dist/cli/main.js", "dev", "--base-port", String(dev.base)], {
      cwd: ROOT,
    });
    expect(await second.end()).toEqual({ code: 1, signal: null });
    expect(second.stdout).toBe("");
    expect(second.stderr).toBe(
      `muster: port ${dev.base} (n1, admin) is in use: stop what listens there, or give another --base-port\n`,
    );
  },
  TIMEOUT_MS,
);
