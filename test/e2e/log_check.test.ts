/**
 * The check that the other files rely on, shown each kind of lie: a check that finds nothing proves nothing until it has
 * found something.
 */
import { checkLogs } from "./support/log_check";
import type { WriteOutcome, WriteRecord } from "./support/load";
import { ensureBuilt, killLeftovers, muster, withCluster } from "./support/process_cluster";
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
  "the check of logs against promises accepts the truth and names every lie",
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

      // Another cluster's log is not this one's, from the first entry on.
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
