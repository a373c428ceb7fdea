/** Membership changes on the leader: one at a time, in order, and looked at again after every wait. */
import { MessageType } from "../../src/raft/index";
import { HelloResponse } from "../../src/generated/muster/raft/v1/raft_service";
import { commandOf } from "../../src/roster/index";
import type { RefusedError, RosterCommand } from "../../src/roster/index";
import { add, adminUrls, move, publish, remove } from "../roster/support/log";
import { ELECTION_TICKS, MemoryCluster, urlOf } from "./support/memory_cluster";
import { promisesSettle } from "./support/tracked";
import { why } from "./support/test_calls";

type WriteOptions = Parameters<MemoryCluster["write"]>[2];

/** A write on member `n`, and what it shows: open, its revision, or the reason of its refusal. */
function change(cluster: MemoryCluster, n: number, command: RosterCommand, options: WriteOptions = {}) {
  const { call, tracked } = cluster.write(n, command, { timeoutMs: 20_000, ...options });
  const shows = (): string =>
    tracked.state === "open" ? "open" : tracked.state === "done" ? String(tracked.value) : why(tracked.error);
  return { call, tracked, shows };
}

const healthy = (size: number): Promise<MemoryCluster> => new MemoryCluster({ size }).startLedBy(1);
const names = (cluster: MemoryCluster): string =>
  cluster
    .roster()
    .map(({ name }) => name)
    .join(" ");

test("changes are made in the order in which they came", async () => {
  const cluster = await healthy(3);
  const moves = [1, 2, 3, 4].map((i) => change(cluster, 1, move({ id: 2n }, `http://10.0.0.2:${8000 + i}`)));
  // Each one asks first who is at its URL.
  await cluster.run(12);
  const revisions = moves.map(({ tracked }) => tracked.value ?? 0);
  expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
  expect(new Set(revisions).size).toBe(4);
  expect(cluster.roster()[1]?.peerUrls).toEqual(["http://10.0.0.2:8004"]);
});

test("entries have the times of their proposals, in the order of the log", async () => {
  const cluster = await healthy(3);
  const { replica, storage } = cluster.member(1);
  const first = replica.lastIndex + 1;
  // The first one asks who is at its URL, the second waits behind it, and the write does not wait.
  const moves = [1, 2].map((i) => change(cluster, 1, move({ id: 2n }, `http://10.0.0.2:${8000 + i}`)));
  const write = change(cluster, 1, adminUrls({ id: 2n }, ["http://10.0.0.2:1"]));
  await cluster.run(12);
  expect([...moves, write].map(({ tracked }) => tracked.state)).toEqual(["done", "done", "done"]);
  const entries = storage.entries(first, replica.lastIndex + 1, Infinity);
  if (typeof entries === "string") throw new Error(entries);
  const times = entries.map((entry) => commandOf(entry)?.timeMs ?? 0);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(times[0]).toBeGreaterThan(1_700_000_000_000);
  expect(new Set(times).size).toBeGreaterThan(1);
});

test("one change at a time: the next is proposed when the one before is applied", async () => {
  const cluster = await healthy(3);
  const first = change(cluster, 1, move({ id: 2n }, "http://10.0.0.2:8001"));
  const second = change(cluster, 1, move({ id: 3n }, "http://10.0.0.3:8001"));
  const { replica, storage } = cluster.member(1);
  const { lastIndex } = replica;
  await cluster.settle();
  cluster.network.isolate(1n);
  await cluster.run(2);
  // Both wait for a quorum's confirmation; with it the first is appended, and only the first.
  cluster.network.heal();
  let pendingMax = 0;
  replica.listen({
    onApplied: () => {
      const entries = storage.entries(replica.applied + 1, replica.lastIndex + 1, Infinity);
      const pending =
        typeof entries === "string" ? [] : entries.filter(({ confChange }) => confChange !== null);
      pendingMax = Math.max(pendingMax, pending.length);
    },
  });
  await cluster.run(3);
  expect([first.tracked.state, second.tracked.state]).toEqual(["done", "done"]);
  expect(pendingMax).toBeLessThanOrEqual(1);
  // The core was not asked too early: it would have put an empty entry in the place of a change that it refuses.
  expect(replica.lastIndex).toBe(lastIndex + 2);
});

test("a change is looked at against the roster that the one before it made", async () => {
  const cluster = await healthy(5);
  const first = change(cluster, 1, remove({ id: 5n }));
  const again = change(cluster, 1, remove({ id: 5n }));
  await cluster.run(2);
  expect([first.tracked.state, again.shows()]).toEqual(["done", "MEMBER_REMOVED"]);
});

test("a change that waits holds up those behind it", async () => {
  const cluster = await healthy(3);
  cluster.network.isolate(3n);
  await cluster.run(ELECTION_TICKS + 1);
  cluster.network.heal();
  await cluster.run(1);
  const adds = change(cluster, 1, add(4));
  const moves = change(cluster, 1, move({ id: 2n }, "http://10.0.0.2:8001"));
  await cluster.run(ELECTION_TICKS);
  expect([adds.shows(), moves.shows()]).toEqual(["open", "open"]);
  await cluster.run(ELECTION_TICKS + 2);
  expect([adds.tracked.state, moves.tracked.state]).toEqual(["done", "done"]);
  expect(adds.tracked.value).toBeLessThan(moves.tracked.value ?? 0);
});

test("the head whose caller goes away is dropped, and the next takes its turn", async () => {
  const cluster = await healthy(3);
  cluster.network.isolate(3n);
  await cluster.run(ELECTION_TICKS + 1);
  cluster.network.heal();
  await cluster.run(1);
  const adds = change(cluster, 1, add(4));
  const moves = change(cluster, 1, move({ id: 2n }, "http://10.0.0.2:8001"));
  await cluster.run(1);
  expect([adds.shows(), moves.shows()]).toEqual(["open", "open"]);
  adds.call.cancel();
  await cluster.run(3);
  expect([adds.shows(), moves.tracked.state]).toEqual(["CallCancelledError", "done"]);
  await cluster.run(3 * ELECTION_TICKS);
  expect(names(cluster)).toBe("n1 n2 n3");
});

test("a change whose deadline passes while it waits for a quorum was not proposed", async () => {
  const cluster = await healthy(3);
  cluster.network.isolate(1n);
  const adds = change(cluster, 1, add(4), { timeoutMs: 300 });
  await cluster.run(3);
  expect(adds.shows()).toBe("NOT_PROPOSED");
  cluster.network.heal();
  await cluster.run(3 * ELECTION_TICKS);
  expect(names(cluster)).toBe("n1 n2 n3");
});

test("a leader that steps down gives its changes to the member that leads then", async () => {
  const cluster = await healthy(3);
  cluster.network.isolate(1n);
  const writes = [5, 6].map((port) => change(cluster, 1, move({ id: 2n }, `http://10.0.0.2:${8000 + port}`)));
  await cluster.run(4 * ELECTION_TICKS);
  expect(cluster.leader().n).not.toBe(1);
  expect(writes.map(({ shows }) => shows())).toEqual(["open", "open"]);
  cluster.network.heal();
  await cluster.run(3);
  expect(writes.map(({ tracked }) => tracked.state)).toEqual(["done", "done"]);
  expect(cluster.member(1).peers.calls.length).toBeGreaterThanOrEqual(2);
});

test("a change in the log of a leader that loses it is made again by the next", async () => {
  const cluster = await healthy(3);
  const before = cluster.member(1).replica.lastIndex;
  cluster.network.passes = ({ type, entries }) => type !== MessageType.Append || entries.length === 0;
  const moves = change(cluster, 1, move({ id: 2n }, "http://10.0.0.2:8001"));
  await cluster.run(2);
  expect(cluster.member(1).replica.lastIndex).toBe(before + 1);
  cluster.network.heal();
  cluster.network.isolate(1n);
  await cluster.run(4 * ELECTION_TICKS);
  expect(moves.shows()).toBe("open");
  cluster.network.heal();
  await cluster.run(ELECTION_TICKS);
  expect(moves.tracked.state).toBe("done");
});

describe("removing the leader", () => {
  test("hands over, and the new leader removes it", async () => {
    const cluster = await healthy(3);
    const removal = change(cluster, 1, remove({ id: 1n }));
    await cluster.run(2);
    // The new leader has to be in contact with the others for long enough first.
    expect([cluster.leader().n === 1, removal.shows()]).toEqual([false, "open"]);
    await cluster.run(2 * ELECTION_TICKS + 2);
    expect(removal.tracked.state).toBe("done");
    expect(names(cluster)).toBe("n2 n3");
    expect(cluster.member(1).removed).toHaveLength(1);
  });

  test("when none of them takes over, the check is made again, and it removes itself", async () => {
    const cluster = await healthy(3);
    cluster.network.passes = ({ type }) => type !== MessageType.TimeoutNow;
    const removal = change(cluster, 1, remove({ id: 1n }));
    await cluster.run(ELECTION_TICKS);
    expect([removal.shows(), names(cluster)]).toEqual(["open", "n1 n2 n3"]);
    await cluster.run(ELECTION_TICKS + 8);
    expect(removal.tracked.state).toBe("done");
  });

  test("a voter that went away during the handover refuses it", async () => {
    const cluster = await healthy(3);
    cluster.network.passes = ({ type }) => type !== MessageType.TimeoutNow;
    cluster.network.isolate(3n);
    const removal = change(cluster, 1, remove({ id: 1n }));
    await cluster.run(ELECTION_TICKS - 1);
    expect(removal.shows()).toBe("open");
    await cluster.run(3);
    expect(removal.shows()).toBe("UNHEALTHY_CLUSTER");
    expect(removal.tracked.error).toMatchObject({ refusal: { metadata: { blocking_names: "n3" } } });
    expect(names(cluster)).toBe("n1 n2 n3");
  });
});

describe("a second member", () => {
  const hello = (given: Partial<HelloResponse>): Uint8Array =>
    HelloResponse.encode(HelloResponse.fromPartial(given)).finish();
  const WAITS = hello({ name: "n2", waitingToJoin: true, peerUrl: urlOf(2) });

  test("is asked for once, at its peer URL, and added when it waits", async () => {
    const cluster = await healthy(1);
    const { peers } = cluster.member(1);
    let answer = (_bytes: Uint8Array): void => undefined;
    peers.hello = () => new Promise((resolve) => (answer = resolve));
    const adds = change(cluster, 1, add(2));
    await cluster.run(5);
    expect(peers.asked).toMatchObject([{ url: urlOf(2), timeoutMs: 1000 }]);
    expect(adds.shows()).toBe("open");
    answer(WAITS);
    await cluster.settle();
    await cluster.run(1);
    expect(peers.asked).toHaveLength(1);
    expect(names(cluster)).toBe("n1 n2");
    cluster.join(2);
    await cluster.run(3);
    expect(adds.tracked.state).toBe("done");
    expect(cluster.member(2).replica.roster.members()).toHaveLength(2);
  });

  test.each<[string, () => Promise<Uint8Array | null>]>([
    ["nobody answers", () => Promise.resolve(null)],
    [
      "a member of another name waits",
      () => Promise.resolve(hello({ name: "n9", waitingToJoin: true, peerUrl: urlOf(2) })),
    ],
    [
      "the member is configured with another peer URL",
      () => Promise.resolve(hello({ name: "n2", waitingToJoin: true, peerUrl: "http://localhost:7461" })),
    ],
    ["it does not say its peer URL", () => Promise.resolve(hello({ name: "n2", waitingToJoin: true }))],
    ["a member answers that does not wait", () => Promise.resolve(hello({ name: "n2", memberId: 2n }))],
    ["what answers is no member", () => Promise.resolve(Uint8Array.of(255, 255, 255))],
    ["the question fails", () => Promise.reject(new Error("lost"))],
  ])("is refused when %s, and the leader goes on", async (_what, answer) => {
    const cluster = await healthy(1);
    cluster.member(1).peers.hello = answer;
    const adds = change(cluster, 1, add(2));
    const missing = change(cluster, 1, remove({ id: 9n }));
    await cluster.run(2);
    expect([adds.shows(), missing.shows()]).toEqual(["UNHEALTHY_CLUSTER", "MEMBER_NOT_FOUND"]);
    expect(cluster.member(1).fatal).toEqual([]);
  });

  test("is not added for a caller that went away while it was asked for", async () => {
    const cluster = await healthy(1);
    let answer = (_bytes: Uint8Array): void => undefined;
    cluster.member(1).peers.hello = () => new Promise((resolve) => (answer = resolve));
    const adds = change(cluster, 1, add(2));
    await cluster.run(1);
    adds.call.cancel();
    await cluster.settle();
    answer(WAITS);
    await cluster.run(2);
    expect([adds.shows(), names(cluster)]).toEqual(["CallCancelledError", "n1"]);
  });
});

test("a new leader waits for an election timeout before it counts a voter as away", async () => {
  const cluster = await healthy(3);
  cluster.network.isolate(3n);
  await cluster.lead(2);
  const adds = change(cluster, 2, add(4));
  await cluster.run(ELECTION_TICKS - 4);
  expect(adds.shows()).toBe("open");
  await cluster.run(4);
  expect(adds.shows()).toBe("UNHEALTHY_CLUSTER");
});

test("a change that would have to wait longer than its caller is refused at once", async () => {
  const cluster = await healthy(3);
  cluster.network.isolate(3n);
  await cluster.run(ELECTION_TICKS + 1);
  cluster.network.heal();
  await cluster.run(1);
  const adds = change(cluster, 1, add(4), { timeoutMs: 300 });
  await cluster.settle();
  expect(adds.shows()).toBe("UNHEALTHY_CLUSTER");
  expect((adds.tracked.error as RefusedError).retryDelayMs).toBeGreaterThan(300);
});

test("a voter that publishes while an add waits lets it pass", async () => {
  const cluster = await new MemoryCluster().startLedBy(1, false);
  const adds = change(cluster, 1, add(4));
  await cluster.run(5);
  expect(adds.shows()).toBe("open");
  for (const n of [1, 2, 3]) cluster.write(1, publish(n));
  await cluster.run(3);
  expect(adds.tracked.state).toBe("done");
});

test("a broken invariant while a change is looked at ends the member, and not its process", async () => {
  const cluster = await healthy(1);
  const { peers, replica, fatal } = cluster.member(1);
  peers.hello = () => Promise.resolve(HelloResponse.encode(WAITING).finish());
  replica.proposeConfChange = () => {
    throw new Error("broken");
  };
  const rejections: unknown[] = [];
  const note = (error: unknown): void => void rejections.push(error);
  process.on("unhandledRejection", note);
  change(cluster, 1, add(2));
  await cluster.run(2);
  await promisesSettle();
  process.off("unhandledRejection", note);
  expect(rejections).toEqual([]);
  expect(fatal.map(({ message }) => message)).toEqual(["broken"]);
});

const WAITING = HelloResponse.fromPartial({ name: "n2", waitingToJoin: true, peerUrl: urlOf(2) });
