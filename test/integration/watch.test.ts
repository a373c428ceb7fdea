/**
 * WatchMembers over the wire: at the leader, at a follower and without a quorum; across restarts, leader changes and
 * snapshots; with readers that stop, deadlines, and requests that are refused. Every event once, in order, at every member.
 */
import { status } from "@grpc/grpc-js";
import { MemberEventKind } from "../../src/generated/muster/v1/membership_service";
import { silentLog } from "../../src/base/log";
import { DEFAULT_CLUSTER_LIMITS } from "../../src/cluster/assemble";
import { TestCluster, refusal, until } from "./support/cluster";
import type { ClusterOptions, TestMember } from "./support/cluster";
import { SyncGates } from "./support/sync_gate";
import { TestWatch } from "./support/watch";

jest.setTimeout(60_000);

let cluster: TestCluster;
const start = async (size = 3, options: ClusterOptions = {}): Promise<TestMember> => {
  cluster = await TestCluster.start(size, options);
  return cluster.stable();
};
afterEach(() => cluster.stop());

async function firstFollower(): Promise<TestMember> {
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("no follower");
  return follower;
}

/** Changes the admin URL of n1. @returns the revision */
async function change(at: TestMember, n: number): Promise<bigint> {
  const { header } = await at.updateAdminUrl({
    name: "n1",
    adminUrls: [`http://127.0.0.1:${String(1000 + n)}`],
  });
  return header?.revision ?? 0n;
}

/** The revisions of the member's own kept events after `revision`. */
const kept = (member: TestMember, revision: bigint): number[] =>
  (member.roster.eventsSince(Number(revision)) ?? []).map((event) => event.revision);

describe("any member", () => {
  test("sends the roster, then every change with what it was before, when, by whom and why", async () => {
    const leader = await start();
    const watches = cluster.members.map((member) => new TestWatch(member));
    const { header: listed, members } = await leader.getMembers();
    await Promise.all(watches.map((watch) => watch.reached(listed?.revision ?? 0n)));
    const [first] = watches;
    const roster = first?.messages[0]?.part;
    expect(roster).toEqual({ $case: "roster", value: { members } });

    const follower = await firstFollower();
    const peerUrl = "http://127.0.0.1:1";
    const added = await follower.addMember({ name: "n4", peerUrl, note: "more room", requestId: "add-1" });
    const removed = await leader.deleteMember({ name: "n4", note: "not needed" });
    await Promise.all(watches.map((watch) => watch.reached(removed.header?.revision ?? 0n)));
    const events = first?.events ?? [];
    expect(events).toMatchObject([
      {
        revision: added.header?.revision,
        kind: MemberEventKind.ADDED,
        member: { name: "n4", id: added.member?.id },
        previous: undefined,
        caller: "anonymous",
        note: "more room",
        requestId: "add-1",
      },
      {
        revision: removed.header?.revision,
        kind: MemberEventKind.REMOVED,
        member: undefined,
        previous: { name: "n4", id: added.member?.id },
        caller: "anonymous",
        note: "not needed",
      },
    ]);
    for (const { time } of events)
      expect(Math.abs(Number(time?.seconds) * 1000 - Date.now())).toBeLessThan(60_000);
    for (const watch of watches) expect(watch.events).toEqual(events);
    // The first members' own publishes are in the history too.
    const all = new TestWatch(follower, { startRevision: 1n });
    await all.reached(removed.header?.revision ?? 0n);
    expect(all.revisions).toEqual(kept(leader, 1n));
    expect(new Set(all.events.map(({ caller }) => caller))).toEqual(new Set(["", "member", "anonymous"]));
    for (const watch of [...watches, all]) watch.cancel();
    await until("no watch is open", () =>
      cluster.members.every((member) => member.running.cluster.watches.size === 0),
    );
  });

  test("says who leads, also while nobody does, and marks how far it is", async () => {
    const leader = await start();
    const follower = await firstFollower();
    const watch = new TestWatch(follower, { withLeader: true, withProgress: true });
    await until("the first mark", () => watch.marks.length === 1);
    expect([watch.leaders, watch.marks]).toEqual([[leader.id], [true]]);
    await Promise.all(cluster.members.filter((m) => m !== follower).map((member) => member.stop()));
    await until("no leader", () => watch.leaders.at(-1) === "");
    // Without a quorum it serves what it has.
    const alone = new TestWatch(follower, { withProgress: true });
    await until("a mark", () => alone.marks.length === 1);
    expect(alone.marks).toEqual([false]);
    expect(alone.messages[0]?.part?.$case).toBe("roster");
    await Promise.all(cluster.members.filter((m) => m !== follower).map((member) => member.start()));
    const next = await cluster.leader();
    await until("another leader", () => watch.leaders.at(-1) === next.id);
    const revision = await change(next, 1);
    await Promise.all([watch.reached(revision), alone.reached(revision)]);
    expect(watch.error).toBeNull();
  });
});

describe("a watch that is lost", () => {
  test("goes on at another member from its last revision: nothing twice, nothing left out", async () => {
    const leader = await start();
    let watch = new TestWatch(await firstFollower(), { startRevision: 1n });
    await change(leader, 1);
    const seen: number[] = [];
    for (let round = 2; round <= 4; round++) {
      await watch.reached(await change(await cluster.leader(), round));
      const victim = cluster.members[round % 3];
      if (victim === undefined) throw new Error("no member");
      await victim.stop();
      await cluster.leader();
      await change(await cluster.leader(), 10 * round);
      if (watch.error === null) watch.cancel();
      seen.push(...watch.revisions);
      const [other] = cluster.running;
      if (other === undefined) throw new Error("nobody runs");
      watch = new TestWatch(other, { startRevision: watch.revision });
      await victim.start();
      await cluster.settled();
    }
    await watch.reached(await change(await cluster.leader(), 99));
    seen.push(...watch.revisions);
    expect(seen).toEqual(kept(await cluster.leader(), 1n));
  });

  test("by a member that stops has been told so", async () => {
    await start();
    const follower = await firstFollower();
    const watch = new TestWatch(follower);
    await watch.reached(1);
    await follower.stop();
    await watch.ended(status.UNAVAILABLE, "SERVER_STOPPING");
  });

  test("by its caller's deadline ends with it; one without a deadline outlives the deadline of other calls", async () => {
    const leader = await start();
    const bounded = new TestWatch(leader, {}, 300);
    const endless = new TestWatch(leader);
    await until("the deadline", () => bounded.error !== null);
    expect(status[bounded.error?.code ?? 0]).toBe("DEADLINE_EXCEEDED");
    await until("its place is free", () => leader.running.cluster.watches.size === 1);
    // A call without a deadline may take 5 s and two election timeouts, on the member's clock.
    await endless.reached(await change(leader, 1));
    expect(endless.error).toBeNull();
  });
});

describe("a snapshot of the leader's", () => {
  /** A follower with an open watch at an old revision gets a snapshot. @returns the watch, and where it was before */
  async function acrossSnapshot(
    eventsLimit: number,
  ): Promise<{ watch: TestWatch; before: bigint; last: bigint }> {
    const installed: string[] = [];
    const gates = new SyncGates();
    const leader = await start(3, {
      deps: {
        snapshots: { everyEntries: 20, everyBytes: 1 << 30, keepEntries: 5 },
        history: { eventsLimit },
      },
      depsOf: (name) => ({
        ...gates.depsOf(name),
        log: {
          ...silentLog,
          info: (_fields, text) => {
            if (text === "installed a snapshot") installed.push(name);
          },
        },
      }),
    });
    const away = await firstFollower();
    const before = BigInt(away.roster.revision);
    await away.stop();
    let last = 0n;
    for (let n = 0; n < 60; n++) last = await change(leader, n);
    await away.start();
    // A snapshot is installed once it is on the disk: not before the watch is open.
    gates.of(away.name).shut();
    const watch = new TestWatch(away, { startRevision: before, withProgress: true });
    await until("the watch is open", () => watch.marks.length > 0 || watch.error !== null);
    gates.of(away.name).lift();
    await until("the snapshot is installed", () => installed.includes(away.name));
    return { watch, before, last };
  }

  test("leaves no gap in a watch whose next changes it has", async () => {
    const { watch, before, last } = await acrossSnapshot(10_000);
    await watch.reached(last);
    const leader = await cluster.leader();
    await watch.reached(await change(leader, 99));
    // The member that was away may publish itself later than that.
    await until("it has all of the leader's", () => watch.revision === BigInt(leader.roster.revision));
    expect(watch.revisions).toEqual(kept(leader, before));
  });

  test("ends a watch whose next changes it does not have", async () => {
    const { watch, before } = await acrossSnapshot(20);
    const { metadata } = await watch.ended(status.OUT_OF_RANGE, "REVISION_COMPACTED");
    const oldest = Number(metadata["oldest_revision"]);
    expect(oldest).toBeGreaterThan(Number(before));
    expect(watch.revisions).toEqual([]);
    const leader = await cluster.leader();
    const again = new TestWatch(leader, { startRevision: BigInt(leader.roster.oldestRevision) });
    await again.reached(await change(leader, 99));
    expect(again.revisions.at(0)).toBeGreaterThan(oldest);
  });
});

describe("a reader that stops", () => {
  /** A change of much text, so that few of them fill what a connection holds. */
  async function longChange(at: TestMember, n: number): Promise<bigint> {
    const adminUrls = Array.from(
      { length: 24 },
      (_, i) => `http://${`host-${String(n)}-${String(i)}.`.padEnd(60, "x")}.${"y".repeat(60)}:1`,
    );
    return (await at.updateAdminUrl({ name: "n1", adminUrls })).header?.revision ?? 0n;
  }

  test("holds up nobody, is not ended for it, and gets everything when it goes on", async () => {
    const leader = await start(1);
    const [slow, quick] = [new TestWatch(leader), new TestWatch(leader)];
    await Promise.all([slow.reached(1), quick.reached(1)]);
    slow.pause();
    let last = 0n;
    for (let n = 0; n < 150; n++) last = await longChange(leader, n);
    await quick.reached(last);
    expect(quick.revisions).toHaveLength(150);
    expect(slow.error).toBeNull();
    slow.resume();
    await slow.reached(last);
    expect(slow.revisions).toEqual(quick.revisions);
    expect(slow.messages.length).toBeLessThan(quick.messages.length);
  });

  test("loses its watch once the history has passed it, and is told what is left", async () => {
    const leader = await start(1, { deps: { history: { eventsLimit: 40 } } });
    const slow = new TestWatch(leader);
    await slow.reached(1);
    slow.pause();
    for (let n = 0; n < 250; n++) await longChange(leader, n);
    await until("its watch is over", () => leader.running.cluster.watches.size === 0);
    slow.resume();
    const { metadata } = await slow.ended(status.OUT_OF_RANGE, "REVISION_COMPACTED");
    expect(Number(metadata["oldest_revision"])).toBeGreaterThan(slow.revisions.at(-1) ?? 0);
    const first = slow.revisions[0] ?? 0;
    // What it did get has no gap.
    expect(slow.revisions).toEqual(slow.revisions.map((_, i) => first + i));
  });
});

describe("a request", () => {
  test("for a revision that is compacted, to come, or no revision at all", async () => {
    const leader = await start(1, { deps: { history: { eventsLimit: 4 } } });
    for (let n = 0; n < 6; n++) await change(leader, n);
    const { oldestRevision, revision } = leader.roster;
    const early = new TestWatch(leader, { startRevision: BigInt(oldestRevision - 1) });
    const { metadata, details } = await early.ended(status.OUT_OF_RANGE, "REVISION_COMPACTED");
    expect(metadata).toEqual({ oldest_revision: String(oldestRevision) });
    expect(details).toContain(String(oldestRevision));
    const oldest = new TestWatch(leader, { startRevision: BigInt(oldestRevision) });
    await oldest.reached(revision);
    for (const startRevision of [1n << 53n, 1n << 63n, (1n << 64n) - 1n]) {
      const refused = new TestWatch(leader, { startRevision });
      const { violations } = await refused.ended(status.INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(violations.map(({ field }) => field)).toEqual(["start_revision"]);
    }
    const future = new TestWatch(leader, { startRevision: BigInt(revision + 2), withProgress: true });
    await until("its first mark", () => future.marks.length === 1);
    for (let n = 10; n < 13; n++) await change(leader, n);
    await future.reached(revision + 3);
    expect(future.revisions).toEqual([revision + 3]);
  });

  test("beyond the bound of the member is refused with a time to try again", async () => {
    const leader = await start(1, { deps: { limits: { ...DEFAULT_CLUSTER_LIMITS, watchesMax: 2 } } });
    const [first] = [new TestWatch(leader), new TestWatch(leader)];
    await until("two are open", () => leader.running.cluster.watches.size === 2);
    const third = new TestWatch(leader);
    const { retryDelayMs } = await third.ended(status.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS");
    expect(retryDelayMs).toBe(1000);
    first?.cancel();
    await until("there is a place", () => leader.running.cluster.watches.size === 1);
    const fourth = new TestWatch(leader);
    await fourth.reached(1);
  });

  test("with a note that is too long or not printable is refused; the same id with another note is another request", async () => {
    const leader = await start(1);
    const adminUrls = ["http://127.0.0.1:9"];
    for (const note of ["x".repeat(257), "two\nlines"]) {
      const call = leader.updateAdminUrl({ name: "n1", adminUrls, note });
      const { violations } = await refusal(call, status.INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(violations.map(({ field }) => field)).toEqual(["note"]);
    }
    const write = { name: "n1", adminUrls, requestId: "r1", note: "é".repeat(256) };
    const { header } = await leader.updateAdminUrl(write);
    expect((await leader.updateAdminUrl(write)).header?.revision).toBe(header?.revision);
    const other = leader.updateAdminUrl({ ...write, note: "another" });
    await refusal(other, status.INVALID_ARGUMENT, "REQUEST_ID_REUSED");
  });
});
