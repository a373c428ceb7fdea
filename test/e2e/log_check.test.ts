/**
 * Tests of the check of logs that the other e2e tests use: it accepts correct records of writes, and finds each kind of
 * incorrect record. Without this, a check that finds nothing would prove nothing.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MusterClient } from "../../src/client";
import { loadConfig } from "../../src/server/config";
import { silentLog } from "../../src/base/log";
import { startMember } from "../../src/server/member";
import { checkLogs } from "./support/log_check";
import type { WriteOutcome, WriteRecord } from "./support/load";
import { withCluster } from "./support/process_cluster";
import { ensureBuilt, freePortBlock, killLeftovers, muster } from "./support/processes";
import type { MemberProcess } from "./support/process_cluster";

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);

function told(requestId: string, outcome: WriteOutcome): WriteRecord {
  return { requestId, what: "a write", attempts: 1, outcome };
}

function acknowledged(requestId: string, revision: number): WriteRecord {
  return told(requestId, { kind: "acknowledged", revision, startedMs: 0, endedMs: 0 });
}

/** Changes its admin URL. @returns the revision */
async function write(member: MemberProcess, requestId: string, port: number): Promise<number> {
  const words = ["member", "update", member.name, "--admin-url", `http://10.0.0.1:${port}`];
  const at = ["--request-id", requestId, "--endpoints", member.endpoint, "--output", "json"];
  const { code, stdout, stderr } = await muster([...words, ...at]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return Number((JSON.parse(stdout) as { header: { revision: string } }).header.revision);
}

async function stopped(member: MemberProcess): Promise<number> {
  const applied = Number((await member.cluster())?.appliedIndex);
  expect(await member.stop()).toEqual({ code: 0, signal: null });
  return applied;
}

test(
  "the check of logs accepts correct records of writes and reports each kind of incorrect record",
  () =>
    withCluster(1, async (cluster) => {
      const [member] = cluster.members;
      if (member === undefined) throw new Error("no member");
      const first = await write(member, "first", 1001);
      const again = await write(member, "first", 1001);
      const second = await write(member, "second", 1002);
      expect(again).toBe(first);
      const applied = await stopped(member);
      const log = { name: "n1", dataDir: member.spec.dataDir };
      const problems = async (...records: WriteRecord[]) =>
        (await checkLogs([log], records, applied)).problems;

      const truth = [acknowledged("first", first), acknowledged("second", second)];
      expect(await problems(...truth, told("third", { kind: "not-appended", reasons: [] }))).toEqual([]);
      expect(await problems(told("second", { kind: "unknown", reasons: [] }))).toEqual([]);

      expect(await problems(acknowledged("first", second))).toEqual([
        `n1: first (a write, 1 attempts) was acknowledged at ${second}, and changed the roster at ${first}`,
      ]);
      expect(await problems(acknowledged("lost", second))).toEqual([
        `n1: lost (a write, 1 attempts) was acknowledged at ${second}, and changed the roster at no index`,
      ]);
      expect(await problems(told("first", { kind: "refused", reason: "LAST_VOTER" }))).toEqual([
        `n1: first (a write, 1 attempts) was refused (LAST_VOTER), and changed the roster at ${first}`,
      ]);
      expect(await problems(told("first", { kind: "not-appended", reasons: ["NO_LEADER"] }))).toEqual([
        "n1: first (a write, 1 attempts) was promised not to be appended (NO_LEADER), and is in the log",
      ]);
      expect((await checkLogs([log], [], applied + 1)).problems).toEqual([
        `n1: ends at ${applied}, but ${applied + 1} was applied`,
      ]);

      // Another cluster's log differs from the first entry on.
      await withCluster(1, async (other) => {
        const [stranger] = other.members;
        if (stranger === undefined) throw new Error("no member");
        await stopped(stranger);
        const logs = [log, { name: "stranger", dataDir: stranger.spec.dataDir }];
        const { problems: differences } = await checkLogs(logs, [], 1);
        expect(differences[0]).toMatch(/^entryDigests at index 1 differ: n1 .*, stranger /);
      });
    }),
  120_000,
);

test("entries before a snapshot are checked by the outcomes that the snapshot remembers", async () => {
  const folder = mkdtempSync(join(tmpdir(), "muster-e2e-"));
  try {
    const dataDir = join(folder, "n1");
    const base = await freePortBlock([0, 1]);
    const [admin, peer] = [`127.0.0.1:${base}`, `127.0.0.1:${base + 1}`];
    const flags = {
      name: "n1",
      "admin-url": `http://${admin}`,
      "peer-url": `http://${peer}`,
      "data-dir": dataDir,
    };
    const config = loadConfig({ flags: { ...flags, "initial-cluster": `n1=http://${peer}` }, env: {} });
    // The member runs in this process, because the command takes snapshots only every 10,000 entries.
    const snapshots = { everyEntries: 20, everyBytes: 2 ** 30, keepEntries: 5 };
    const server = await startMember(config, { log: silentLog, snapshots });
    const client = new MusterClient({ endpoints: [admin], timeoutMs: 20_000 });
    const records: WriteRecord[] = [];
    for (let n = 0; n < 60; n++) {
      const requestId = `r${n}`;
      const { header } = await client.updateAdminUrl({
        name: "n1",
        adminUrls: [`http://10.0.0.1:${1000 + n}`],
        requestId,
      });
      records.push(acknowledged(requestId, Number(header?.revision)));
    }
    client.close();
    const applied = server.cluster.replica.applied;
    await server.stop();

    const log = { name: "n1", dataDir };
    const { problems, snapshots: newest, uncovered } = await checkLogs([log], records, applied);
    expect({ problems, uncovered }).toEqual({ problems: [], uncovered: 0 });
    expect(newest[0]).toBeGreaterThan(40);
    const lies = [acknowledged("r0", applied), told("r1", { kind: "not-appended", reasons: ["NO_LEADER"] })];
    expect((await checkLogs([log], lies, applied)).problems).toEqual([
      expect.stringMatching(/^n1: r0 .* was acknowledged at \d+, and changed the roster at \d+$/),
      expect.stringMatching(/^n1: r1 .* was promised not to be appended \(NO_LEADER\), and is in the log$/),
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 60_000);
