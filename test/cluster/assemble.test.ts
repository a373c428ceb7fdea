/** One member's cluster layer put together: parts that fit, and what the wire tells them. */
import type { StateMachine } from "../../src/replica/state_machine";
import { MessageType, NO_NODE, ProgressState } from "../../src/raft/index";
import { COUNTER, Counter, additionEntry } from "../replica/support/counter";
import { captureNow } from "../replica/support/capture_now";
import { add, adminUrls, publish } from "../roster/support/log";
import { MemoryCluster, urlOf } from "./support/memory_cluster";

const healthy = (): Promise<MemoryCluster> => new MemoryCluster().startLedBy(1);

test("nothing runs before the start", async () => {
  const cluster = new MemoryCluster();
  await cluster.run(50);
  expect(cluster.network.sent).toEqual([]);
  for (const { replica } of cluster.members.values())
    expect([replica.ticks, replica.applied]).toEqual([0, 0]);
});

test("a cluster elects, and takes writes of any member", async () => {
  const cluster = await new MemoryCluster().startLedBy(2, false);
  const write = cluster.write(1, publish(3));
  await cluster.run(2);
  expect(write.tracked.state).toBe("done");
  for (const { rosterMachine } of cluster.members.values())
    expect(rosterMachine.roster.member(3n)?.started).toBe(true);
});

test("a snapshot on disk that can't be restored ends the start", async () => {
  const cluster = await healthy();
  const { storage, replica } = cluster.member(1);
  const snapshot = { ...captureNow(replica), data: Uint8Array.of(255) };
  storage.saveSnapshotNow(snapshot, 0);
  expect(() => cluster.restart(1)).toThrow();
});

describe("what the wire tells", () => {
  test("one verdict on this member ends nothing, another reason goes to the server", async () => {
    const cluster = await healthy();
    const { memoryTransport, removed, refusals, ended } = cluster.member(1);
    memoryTransport.events.onRefused(2n, "MEMBER_WIPED", "wiped");
    memoryTransport.events.onRefused(NO_NODE, "CLUSTER_ID_MISMATCH", "other");
    memoryTransport.events.onRefused(2n, "MEMBER_REMOVED", "gone");
    expect([removed, refusals, ended]).toEqual([[], ["0 CLUSTER_ID_MISMATCH"], []]);
    memoryTransport.events.onRefused(3n, "MEMBER_REMOVED", "gone");
    expect(removed).toEqual([expect.stringMatching(/2 of 2 other voters refuse it \(.*gone.*gone\)/)]);
    expect([refusals.length, ended]).toEqual([1, []]);
  });

  test("an unreachable peer is probed, and a lost snapshot is sent again", async () => {
    const snapshots = { everyEntries: 10, keepEntries: 0 };
    const cluster = await new MemoryCluster({ snapshots }).startLedBy(1);
    const { memoryTransport, replica } = cluster.member(1);
    const state = (id: bigint): ProgressState | undefined => replica.status().progress.get(id)?.state;
    expect(state(2n)).toBe(ProgressState.Replicate);
    memoryTransport.events.onUnreachable(2n);
    expect(state(2n)).toBe(ProgressState.Probe);
    cluster.network.isolate(3n);
    for (let i = 0; i < 30; i++)
      await cluster.write(1, adminUrls({ id: 2n }, [`http://h:${i + 1}`])).settled();
    await cluster.run(2);
    cluster.network.heal();
    cluster.network.passes = ({ type }) => type !== MessageType.Snapshot;
    await cluster.run(3);
    expect(cluster.member(3).replica.applied).toBeLessThan(replica.applied);
    cluster.network.heal();
    await cluster.run(5);
    expect(cluster.member(3).replica.applied).toBe(replica.applied);
    expect(state(3n)).toBe(ProgressState.Replicate);
  });
});

test("other state machines stand beside the roster", async () => {
  const counters = [1, 2, 3].map(() => new Counter());
  const stateMachines = (n: number) =>
    new Map<number, StateMachine>([[COUNTER, counters[n - 1] ?? new Counter()]]);
  const cluster = await new MemoryCluster({ stateMachines }).startLedBy(1);
  cluster.member(1).replica.propose({ id: 1n, data: additionEntry(1n, 5), settle: () => undefined });
  await cluster.run(1);
  expect(counters.map(({ total }) => total)).toEqual([5, 5, 5]);
});

test("the limits reach reads and writes", async () => {
  const limits = { writesWaitingMax: 1, readsWaitingMax: 1 };
  const cluster = await new MemoryCluster({ limits }).startLedBy(1, false);
  const writes = [1, 2].map((port) => cluster.write(1, adminUrls({ id: 2n }, [`http://h:${port}`])));
  await cluster.run(1);
  expect(writes.map(({ tracked }) => tracked.state)).toEqual(["done", "failed"]);
});

test("a joiner is asked for at its peer URL in a cluster of one alone", async () => {
  const cluster = await healthy();
  const write = cluster.write(1, add(4));
  await cluster.run(1);
  expect([write.tracked.state, cluster.member(1).peers.asked]).toEqual(["done", []]);
  const one = await new MemoryCluster({ size: 1 }).startLedBy(1);
  one.write(1, add(2));
  await one.run(1);
  expect(one.member(1).peers.asked.map(({ url }) => url)).toEqual([urlOf(2)]);
});
