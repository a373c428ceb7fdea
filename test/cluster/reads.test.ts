/** Linearizable reads: confirmed here or answered by the leader, and what ends those that are not. */
import { RETRY, UNKNOWN, done, refusedBy } from "../../src/base/outcome";
import type { Outcome } from "../../src/base/outcome";
import type { Reason } from "../../src/roster/index";
import { refusalError } from "../../src/rpc/rpc_error";
import { publish } from "../roster/support/log";
import { ELECTION_TICKS, HEARTBEAT_MS, MemoryCluster, urlOf } from "./support/memory_cluster";
import { READ_PATH, callOf, why } from "./support/test_calls";
import type { TestCallOptions } from "./support/test_calls";
import { Tracked, promisesSettle } from "./support/tracked";

const REQUEST = { path: READ_PATH, body: Uint8Array.of(1, 2) };
const answerOf = (tracked: Tracked<unknown>): string =>
  tracked.state === "failed" ? why(tracked.error) : tracked.state;

let cluster: MemoryCluster;
beforeEach(async () => {
  cluster = await new MemoryCluster({ limits: { readsWaitingMax: 3 } }).startLedBy(1, false);
});

function confirm(n: number, options: TestCallOptions = {}) {
  const call = callOf(cluster.clock, options);
  return { call, tracked: new Tracked(cluster.member(n).reads.confirm(call)) };
}

function atLeader(n: number, options: TestCallOptions = {}) {
  const call = callOf(cluster.clock, options);
  const { reads, replica } = cluster.member(n);
  const answer = reads.atLeader(
    call,
    () => REQUEST,
    () => Buffer.from(String(replica.id)),
  );
  return { call, tracked: new Tracked(answer.then((bytes) => bytes.toString())) };
}

describe("confirmed here", () => {
  test.each([1, 2])(
    "a read on member %i waits for a quorum, and sees what was acknowledged before",
    async (n) => {
      const { storage, replica } = cluster.member(n);
      cluster.write(1, publish(2));
      await cluster.settle();
      const { committed } = cluster.member(1).replica;
      const { tracked } = confirm(n);
      expect(tracked.state).toBe("open");
      await cluster.run(1);
      expect(tracked.state).toBe("done");
      expect(replica.applied).toBeGreaterThanOrEqual(committed);
      expect(storage.held).toBe(0);
    },
  );

  test("one that is answered leaves no timer behind", async () => {
    const { timerCount } = cluster.clock;
    confirm(1);
    expect(cluster.clock.timerCount).toBe(timerCount + 1);
    await cluster.run(1);
    expect(cluster.clock.timerCount).toBe(timerCount);
  });

  test("one without a quorum ends with NO_QUORUM, one without a leader with NO_LEADER", async () => {
    cluster.network.isolate(1n);
    const { tracked } = confirm(1, { timeoutMs: 300 });
    await cluster.run(2);
    expect(answerOf(tracked)).toBe("open");
    await cluster.run(1);
    expect(answerOf(tracked)).toBe("NO_QUORUM");
    cluster.network.isolate(2n);
    await cluster.run(4 * ELECTION_TICKS);
    const later = confirm(2, { timeoutMs: 300 });
    await cluster.run(3);
    expect(answerOf(later.tracked)).toBe("NO_LEADER");
  });

  test.each([1, 2])(
    "a deadline of a few milliseconds at member %i of a healthy cluster was too short",
    async (n) => {
      // Deadline.of keeps 20 ms back for the answer, so that nothing is left.
      const reads = [
        confirm(n, { timeoutMs: -15 }),
        atLeader(n, { timeoutMs: -15 }),
        confirm(n, { timeoutMs: 90 }),
      ];
      cluster.network.passes = () => false;
      await cluster.settle();
      await cluster.run(1);
      expect(reads.map(({ tracked }) => answerOf(tracked))).toEqual(Array(3).fill("NOT_PROPOSED"));
    },
  );

  test("one that is confirmed, on a member that is too far behind, ends with NOT_PROPOSED", async () => {
    const { storage } = cluster.member(2);
    storage.hold();
    cluster.write(1, publish(2));
    await cluster.settle();
    const { tracked } = confirm(2, { timeoutMs: 300 });
    await cluster.run(3);
    expect(answerOf(tracked)).toBe("NOT_PROPOSED");
  });

  test("more than may wait are refused, with when to come back", async () => {
    const reads = [confirm(1), confirm(1), confirm(1), confirm(1)];
    await Promise.resolve();
    await Promise.resolve();
    expect(reads.map(({ tracked }) => answerOf(tracked))).toEqual([
      "open",
      "open",
      "open",
      "TOO_MANY_REQUESTS",
    ]);
    expect(reads[3]?.tracked.error).toMatchObject({ retryDelayMs: 1000 });
    await cluster.run(1);
    expect(confirm(1).tracked.state).toBe("open");
  });

  test("those that wait at a follower, without a leader or for its answer, are bounded too", async () => {
    const { peers } = cluster.member(2);
    peers.answer = () => new Promise(() => undefined);
    const waiting = [atLeader(2), confirm(2), atLeader(2)];
    const late = [atLeader(2), confirm(2)];
    await promisesSettle();
    expect(waiting.filter(({ tracked }) => tracked.state === "failed")).toEqual([]);
    expect(late.map(({ tracked }) => answerOf(tracked))).toEqual(Array(2).fill("TOO_MANY_REQUESTS"));
    cluster.network.isolate(3n);
    const { length } = peers.calls;
    const alone = [atLeader(3), atLeader(3), atLeader(3), atLeader(3)];
    cluster.member(3).peers.answer = () => Promise.resolve(RETRY);
    await cluster.settle();
    expect(alone.map(({ tracked }) => answerOf(tracked)).slice(3)).toEqual(["TOO_MANY_REQUESTS"]);
    for (const { call } of alone) call.cancel();
    await cluster.settle();
    await cluster.run(1);
    const next = atLeader(3);
    await cluster.settle();
    expect([answerOf(next.tracked), peers.calls.length]).toEqual(["open", length]);
  });

  test("a caller that goes away ends it, and frees its place", async () => {
    cluster.network.isolate(1n);
    const reads = [confirm(1), confirm(1), confirm(1)];
    for (const { call } of reads) call.cancel();
    await cluster.settle();
    expect(reads.map(({ tracked }) => answerOf(tracked))).toEqual(Array(3).fill("CallCancelledError"));
    expect(answerOf(confirm(1).tracked)).toBe("open");
  });

  test("a caller that has gone already gets no read", async () => {
    const call = callOf(cluster.clock);
    call.cancel();
    const { timerCount } = cluster.clock;
    const tracked = new Tracked(cluster.member(1).reads.confirm(call));
    await cluster.settle();
    expect(answerOf(tracked)).toBe("CallCancelledError");
    expect(cluster.clock.timerCount).toBe(timerCount);
  });

  test("a member that stops refuses those that wait and those that come", async () => {
    cluster.network.isolate(1n);
    const { tracked } = confirm(1);
    cluster.member(1).reads.stop();
    const later = confirm(1);
    await cluster.settle();
    expect([answerOf(tracked), answerOf(later.tracked)]).toEqual(["SERVER_STOPPING", "SERVER_STOPPING"]);
  });
});

describe("answered by the leader", () => {
  test("here, when this member leads", async () => {
    const { tracked } = atLeader(1);
    await cluster.run(1);
    expect(tracked.value).toBe("1");
    expect(cluster.member(1).peers.calls).toEqual([]);
  });

  test("by one hop, when another member does: its answer as it is", async () => {
    const { tracked } = atLeader(2);
    await cluster.run(1);
    expect(tracked.value).toBe("1");
    const connectMs = ELECTION_TICKS * HEARTBEAT_MS;
    expect(cluster.member(2).peers.calls).toEqual([{ url: urlOf(1), request: REQUEST, connectMs }]);
  });

  test("NOT_LEADER when the caller forbids the hop", async () => {
    const { tracked } = atLeader(2, { mayForward: false });
    await cluster.settle();
    expect(tracked.error).toMatchObject({ refusal: { reason: "NOT_LEADER", metadata: { leader_id: "1" } } });
  });

  test("again at another member, when this one stops leading while the read waits", async () => {
    cluster.network.isolate(1n);
    const { tracked } = atLeader(1, { timeoutMs: 10_000 });
    await cluster.run(4 * ELECTION_TICKS);
    expect(answerOf(tracked)).toBe("open");
    cluster.network.heal();
    await cluster.run(ELECTION_TICKS);
    expect(tracked.value).toBe(String(cluster.leader().n));
    expect(tracked.value).not.toBe("1");
  });

  const refusal = (reason: Reason): Outcome<never> =>
    refusedBy(refusalError({ reason, message: reason, metadata: {} }));
  test.each<[string, Outcome<Uint8Array>, string]>([
    ["not reached", RETRY, "again"],
    ["sent, and no answer: a read has no effect", UNKNOWN, "again"],
    ["it does not lead", refusal("NOT_LEADER"), "again"],
    ["it stops", refusal("SERVER_STOPPING"), "again"],
    ["it has no quorum", refusal("NO_QUORUM"), "NO_QUORUM"],
    ["it has too many", refusal("TOO_MANY_REQUESTS"), "TOO_MANY_REQUESTS"],
    ["an error of another kind", refusedBy(new TypeError("odd")), "TypeError"],
  ])("the leader's answer: %s", async (_what, outcome, expected) => {
    const { peers } = cluster.member(2);
    peers.answer = () => Promise.resolve(outcome);
    const { tracked } = atLeader(2);
    await cluster.settle();
    if (expected !== "again") {
      expect(answerOf(tracked)).toBe(expected);
      return;
    }
    expect(answerOf(tracked)).toBe("open");
    peers.answer = () => Promise.resolve(done(Uint8Array.of(55)));
    await cluster.run(1);
    expect([tracked.value, peers.calls.length]).toEqual(["7", 2]);
  });

  test("the deadline ends it with NO_LEADER while none is known", async () => {
    for (const id of [1n, 2n, 3n]) cluster.network.isolate(id);
    await cluster.run(4 * ELECTION_TICKS);
    const { tracked } = atLeader(2, { timeoutMs: 300 });
    await cluster.run(3);
    expect(answerOf(tracked)).toBe("NO_LEADER");
  });

  test("a caller that goes away while it waits for a leader ends it", async () => {
    for (const id of [1n, 2n, 3n]) cluster.network.isolate(id);
    await cluster.run(4 * ELECTION_TICKS);
    const { call, tracked } = atLeader(2);
    await cluster.settle();
    call.cancel();
    await cluster.settle();
    expect(answerOf(tracked)).toBe("CallCancelledError");
  });

  test("a member that stops does not wait for the leader's answer", async () => {
    const { peers, reads, routing } = cluster.member(2);
    peers.answer = () => new Promise(() => undefined);
    const { tracked } = atLeader(2);
    await cluster.settle();
    reads.stop();
    routing.stop();
    await cluster.settle();
    expect(answerOf(tracked)).toBe("SERVER_STOPPING");
  });
});
