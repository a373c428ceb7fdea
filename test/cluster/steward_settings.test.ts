/**
 * What the leader does by itself with its settings, in clusters in memory whose clock the test moves: standbys that take over,
 * members that never start, replacements; how long it waits, and what begins anew under another leader.
 */
import {
  MemberTarget,
  replaceMemberCommand,
  RosterEvent_Kind,
  updateSettingsCommand,
} from "../../src/roster/index";
import type { MemberRecord, RosterCommand, SettingsFields } from "../../src/roster/index";
import { add, adminUrls, by, newMember, publish, remove, request } from "../roster/support/log";
import { ELECTION_TICKS, MemoryCluster } from "./support/memory_cluster";

const { UNSPECIFIED, LEARNER, STANDBY } = MemberTarget;
/** Ten election timeouts. */
const AFTER_TICKS = 100;
const AFTER_MS = 10_000;
const NONE = { autoPromote: undefined, standbyTakeoverAfterMs: undefined, removeUnstartedAfterMs: undefined };
let requests = 0;
const set = (settings: Partial<SettingsFields>): RosterCommand =>
  updateSettingsCommand(request(`s${String(requests++)}`), { ...NONE, ...settings });
const beside = (old: number, n: number): RosterCommand =>
  replaceMemberCommand(request(`r${String(requests++)}`), {
    member: by({ id: BigInt(old) }),
    peerUrl: "",
    replacement: newMember(n, { learner: true }),
    sideBySide: true,
  });

const record = (cluster: MemoryCluster, n: number): MemberRecord | undefined =>
  cluster.roster().find(({ id }) => id === BigInt(n));
const votersOf = (cluster: MemoryCluster): bigint[] => cluster.leader().rosterMachine.roster.voters();
const write = (cluster: MemoryCluster, command: RosterCommand): Promise<number> =>
  cluster.write(cluster.leader().n, command).settled();

async function started(cluster: MemoryCluster, n: number): Promise<void> {
  cluster.join(n);
  await cluster.run(1);
  await write(cluster, publish(n));
}
async function joined(cluster: MemoryCluster, n: number, target: MemberTarget = UNSPECIFIED): Promise<void> {
  await write(cluster, add(n, { learner: true, target }));
  await started(cluster, n);
}
/** Three voters led by n1, and a standby n4 that is ready. */
async function withStandby(settings: Partial<SettingsFields>): Promise<MemoryCluster> {
  const cluster = await new MemoryCluster().startLedBy(1);
  await joined(cluster, 4, STANDBY);
  await write(cluster, set(settings));
  await cluster.run(3 * ELECTION_TICKS);
  return cluster;
}

describe("a standby", () => {
  test("takes the place of a voter that is out of contact for so long, and the voter is a standby when it is back", async () => {
    const cluster = await withStandby({ standbyTakeoverAfterMs: AFTER_MS });
    cluster.network.isolate(3n);
    await cluster.run(AFTER_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n]);
    await cluster.run(ELECTION_TICKS + 3);
    expect(votersOf(cluster)).toEqual([1n, 2n, 4n]);
    expect(record(cluster, 3)).toMatchObject({ learner: true, target: STANDBY });
    const events = cluster.leader().rosterMachine.roster.eventsSince(0)?.slice(-2) ?? [];
    expect(events.map(({ kind, caller, note, requestId }) => [kind, caller, note, requestId])).toEqual([
      [RosterEvent_Kind.PROMOTED, "steward", "n3 was out of contact for 10 s", ""],
      [RosterEvent_Kind.DEMOTED, "steward", "n3 was out of contact for 10 s", ""],
    ]);
    expect(new Set(events.map(({ revision }) => revision)).size).toBe(1);
    cluster.network.heal();
    await cluster.run(20 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 4n]);
    expect(cluster.member(3).rosterMachine.roster.hash()).toBe(cluster.leader().rosterMachine.roster.hash());
    // The next time it is the one that takes over.
    cluster.network.isolate(4n);
    await cluster.run(AFTER_TICKS + 3 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n]);
  });

  test("waits while the voter comes and goes, and for good when the setting is 0", async () => {
    const cluster = await withStandby({ standbyTakeoverAfterMs: AFTER_MS });
    for (let round = 0; round < 3; round++) {
      cluster.network.isolate(3n);
      await cluster.run(AFTER_TICKS - ELECTION_TICKS);
      cluster.network.heal();
      await cluster.run(ELECTION_TICKS);
    }
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n]);
    await write(cluster, set({ standbyTakeoverAfterMs: 0 }));
    cluster.network.isolate(3n);
    await cluster.run(5 * AFTER_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n]);
    // Known for how long, once the setting asks for it.
    await write(cluster, set({ standbyTakeoverAfterMs: AFTER_MS }));
    await cluster.run(3);
    expect(votersOf(cluster)).toEqual([1n, 2n, 4n]);
  });

  test("a setting that was off meanwhile does not remember an absence of before", async () => {
    const cluster = await withStandby({ standbyTakeoverAfterMs: AFTER_MS });
    cluster.network.isolate(3n);
    await cluster.run(AFTER_TICKS - 2 * ELECTION_TICKS);
    await write(cluster, set({ standbyTakeoverAfterMs: 0 }));
    cluster.network.heal();
    await cluster.run(3 * ELECTION_TICKS);
    cluster.network.isolate(3n);
    await cluster.run(2 * ELECTION_TICKS);
    await write(cluster, set({ standbyTakeoverAfterMs: AFTER_MS }));
    await cluster.run(AFTER_TICKS - 3 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n]);
    await cluster.run(3 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 4n]);
  });

  test("under another leader the wait begins anew", async () => {
    const cluster = await withStandby({ standbyTakeoverAfterMs: AFTER_MS });
    cluster.network.isolate(3n);
    await cluster.run(AFTER_TICKS - ELECTION_TICKS);
    await cluster.lead(2);
    await cluster.run(AFTER_TICKS - 5);
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n]);
    await cluster.run(ELECTION_TICKS + 10);
    expect(votersOf(cluster)).toEqual([1n, 2n, 4n]);
  });

  test("two dead voters of five: one standby after the other takes over", async () => {
    const cluster = await new MemoryCluster({ size: 5 }).startLedBy(1);
    for (const n of [6, 7]) await joined(cluster, n, STANDBY);
    await write(cluster, set({ standbyTakeoverAfterMs: AFTER_MS }));
    await cluster.run(3 * ELECTION_TICKS);
    cluster.network.isolate(4n);
    cluster.network.isolate(5n);
    await cluster.run(AFTER_TICKS + 4 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n, 6n, 7n]);
    for (const n of [4, 5]) expect(record(cluster, n)).toMatchObject({ learner: true, target: STANDBY });
  });

  test("no standby: nothing happens until there is one that is ready", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, set({ standbyTakeoverAfterMs: AFTER_MS }));
    await joined(cluster, 4, LEARNER);
    cluster.network.isolate(3n);
    await cluster.run(2 * AFTER_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n]);
    await joined(cluster, 5, STANDBY);
    await cluster.run(3 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 5n]);
  });
});

describe("a member that never starts", () => {
  test("is removed after so long, by the steward; one that starts in time is not", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, set({ removeUnstartedAfterMs: AFTER_MS }));
    await write(cluster, add(4, { learner: true, target: LEARNER }));
    await write(cluster, add(5, { learner: true, target: LEARNER }));
    await cluster.run(AFTER_TICKS - 10);
    await started(cluster, 5);
    expect(record(cluster, 4)).toBeDefined();
    await cluster.run(15);
    expect(record(cluster, 4)).toBeUndefined();
    expect(record(cluster, 5)?.started).toBe(true);
    const event = cluster.leader().rosterMachine.roster.eventsSince(0)?.at(-1);
    expect(event).toMatchObject({
      kind: RosterEvent_Kind.REMOVED,
      caller: "steward",
      note: "it never started",
    });
    // One that started and went away again is no such member.
    cluster.network.isolate(5n);
    await cluster.run(3 * AFTER_TICKS);
    expect(record(cluster, 5)).toBeDefined();
  });

  test("one in contact is about to publish itself, and stays", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, add(4, { learner: true, target: LEARNER }));
    cluster.join(4);
    await write(cluster, set({ removeUnstartedAfterMs: 1000 }));
    await cluster.run(5 * AFTER_TICKS);
    expect(record(cluster, 4)?.started).toBe(false);
    cluster.network.isolate(4n);
    await cluster.run(4 * ELECTION_TICKS);
    expect(record(cluster, 4)).toBeUndefined();
  });

  test("under another leader the wait begins anew", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, set({ removeUnstartedAfterMs: AFTER_MS }));
    await write(cluster, add(4, { learner: true }));
    await cluster.run(AFTER_TICKS - 5);
    await cluster.lead(2);
    await cluster.run(AFTER_TICKS - 5);
    expect(record(cluster, 4)).toBeDefined();
    await cluster.run(20);
    expect(record(cluster, 4)).toBeUndefined();
  });

  test("a voter that never started stays", async () => {
    const cluster = await new MemoryCluster({ size: 3 }).startLedBy(1, false);
    for (const n of [1, 2]) await write(cluster, publish(n));
    await write(cluster, set({ removeUnstartedAfterMs: 1000 }));
    await write(cluster, add(4, { learner: true, target: LEARNER }));
    cluster.network.isolate(3n);
    await cluster.run(3 * AFTER_TICKS);
    expect(cluster.roster().map(({ id }) => id)).toEqual([1n, 2n, 3n]);
  });
});

describe("a replacement", () => {
  test("of the leader: a voter that stays leads first, and finishes it", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, beside(1, 4));
    await started(cluster, 4);
    await cluster.run(8 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([2n, 3n, 4n]);
    expect(cluster.leader().n).not.toBe(1);
    expect(cluster.member(1).removed).toHaveLength(1);
    // The old leader did not count its handover as a failure.
    expect(cluster.member(1).log.texts.filter((text) => text.includes("did not come about"))).toEqual([]);
  });

  test("of the only voter: the new one goes on alone", async () => {
    const cluster = await new MemoryCluster({ size: 1 }).startLedBy(1);
    await write(cluster, beside(1, 2));
    await started(cluster, 2);
    await cluster.run(8 * ELECTION_TICKS);
    expect(cluster.leader().n).toBe(2);
    expect(votersOf(cluster)).toEqual([2n]);
    expect(cluster.member(1).removed).toHaveLength(1);
    await write(cluster, add(3, { learner: true }));
  });

  test("the next leader goes on with one that another began, once", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, beside(3, 4));
    cluster.network.isolate(1n);
    await cluster.run(4 * ELECTION_TICKS);
    await started(cluster, 4);
    await cluster.run(4 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 4n]);
    cluster.network.heal();
    await cluster.run(4 * ELECTION_TICKS);
    expect(cluster.member(1).rosterMachine.roster.hash()).toBe(cluster.leader().rosterMachine.roster.hash());
    const removals = cluster.leader().rosterMachine.roster.eventsSince(0) ?? [];
    expect(removals.filter(({ kind }) => kind === RosterEvent_Kind.REMOVED)).toHaveLength(1);
  });

  test("does not wait for the roster to stand still", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, beside(3, 4));
    await started(cluster, 4);
    for (let tick = 0; tick < 4 * ELECTION_TICKS; tick++) {
      // One that is under way at every tick.
      cluster.write(1, adminUrls({ id: 2n }, [`http://10.0.0.9:${String(tick + 1)}`]));
      await cluster.run(1);
    }
    expect(votersOf(cluster)).toEqual([1n, 2n, 4n]);
  });

  test("that is cancelled while it waits is not made", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, beside(3, 4));
    await started(cluster, 4);
    await write(cluster, remove({ id: 4n }));
    await cluster.run(5 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 3n]);
  });

  test("without auto_promote is finished all the same, and a learner waits", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await write(cluster, set({ autoPromote: false }));
    await joined(cluster, 5);
    await write(cluster, beside(3, 4));
    await started(cluster, 4);
    await cluster.run(5 * ELECTION_TICKS);
    expect(votersOf(cluster)).toEqual([1n, 2n, 4n]);
    expect(record(cluster, 5)?.learner).toBe(true);
    await write(cluster, set({ autoPromote: true }));
    await cluster.run(2);
    expect(record(cluster, 5)?.learner).toBe(false);
  });
});

test("settings wait until every started member knows them", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  await write(cluster, publish(3, 3, undefined, "0.2.9"));
  const { tracked } = cluster.write(2, set({ autoPromote: false }));
  await cluster.run(1);
  expect(String(tracked.error)).toContain("UpdateClusterSettings needs version 0.3.0 or later");
  expect(cluster.leader().rosterMachine.roster.settings.autoPromote).toBe(true);
  await write(cluster, publish(3));
  await write(cluster, set({ autoPromote: false }));
});
