/** What the cluster survives now: which voters count, and when each member was last heard by whom. */
import { clusterStatus } from "../../src/cluster/status";
import { ResponseHeader } from "../../src/generated/muster/v1/membership_service";
import { MessageType, newMessage } from "../../src/raft/index";
import { ELECTION_TICKS, HEARTBEAT_MS, MemoryCluster } from "./support/memory_cluster";

function statusOf(cluster: MemoryCluster, n: number, confirmed: boolean) {
  const header = ResponseHeader.fromPartial({});
  return clusterStatus(cluster.member(n).replica, header, cluster.clock.now(), confirmed);
}

test("a member that the leader can't reach does not count, although its own messages arrive", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  const leader = cluster.member(1).replica;
  cluster.network.isolate(3n);
  for (let i = 0; i <= 2 * ELECTION_TICKS; i++) {
    await cluster.run(1);
    // As a member at a wrong URL does: its stream to the leader is open, and it asks for votes in the leader's term.
    leader.receive(3n, [newMessage(MessageType.PreVote, 1n, 3n, leader.term)]);
    await cluster.settle();
  }
  const { members, failuresTolerated, failuresToleratedKnown } = statusOf(cluster, 1, true);
  expect(members[2]).toMatchObject({ reachable: false, lastHeard: { seconds: 0n, nanos: 0 } });
  expect([failuresTolerated, failuresToleratedKnown]).toEqual([0, true]);
});

test("a voter far behind does not count, one within reach of the log does", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  const { replica } = cluster.member(1);
  const tolerated = (lag: number): number => {
    const status = replica.status();
    const progress = new Map(status.progress);
    const third = progress.get(3n);
    if (third === undefined) throw new Error("no progress of member 3");
    progress.set(3n, { ...third, match: replica.lastIndex - lag });
    const view = Object.create(replica, {
      status: { value: () => ({ ...status, progress }) },
    }) as typeof replica;
    const header = ResponseHeader.fromPartial({});
    return clusterStatus(view, header, cluster.clock.now(), true).failuresTolerated;
  };
  expect([tolerated(0), tolerated(5000), tolerated(5001)]).toEqual([1, 1, 0]);
});

test("a voter that never started does not count", async () => {
  const cluster = await new MemoryCluster().startLedBy(1, false);
  expect(statusOf(cluster, 1, true)).toMatchObject({ failuresTolerated: 0, failuresToleratedKnown: true });
});

test("every member says when it last heard of each other one", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  cluster.network.isolate(3n);
  await cluster.run(ELECTION_TICKS);
  const heard = (n: number) => statusOf(cluster, n, false).members.map(({ lastHeard }) => lastHeard?.seconds);
  expect(heard(2)[0]).toBe(0n);
  expect(heard(2)[1]).toBeUndefined();
  expect(heard(3)[0]).toBe(BigInt((ELECTION_TICKS * HEARTBEAT_MS) / 1000));
});
