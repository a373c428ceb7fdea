/** What GetCluster says of the members: from any member, and from the leader after a confirmed read. */
import { clusterStatus } from "../../src/cluster/status";
import { ResponseHeader } from "../../src/generated/muster/v1/membership_service";
import { ELECTION_TICKS, MemoryCluster } from "./support/memory_cluster";

const HEADER = ResponseHeader.fromPartial({});

function statusOf(cluster: MemoryCluster, n: number, confirmed = true) {
  return clusterStatus(cluster.member(n).replica, HEADER, cluster.clock.now(), confirmed);
}

test("the leader says how far and how reachable each member is", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  const { lastIndex } = cluster.member(1).replica;
  cluster.clock.advance(50);
  const { members, ...counts } = statusOf(cluster, 1);
  expect(counts).toMatchObject({ quorumSize: 2, failuresTolerated: 1, appliedIndex: BigInt(lastIndex) });
  expect(members.map(({ member, isLeader, reachable }) => [member?.name, isLeader, reachable])).toEqual([
    ["n1", true, true],
    ["n2", false, true],
    ["n3", false, true],
  ]);
  expect(members.map(({ matchIndex, lagEntries }) => [matchIndex, lagEntries])).toEqual(
    Array(3).fill([BigInt(lastIndex), 0n]),
  );
  expect(members[0]?.lastContact).toEqual({ seconds: 0n, nanos: 0 });
  expect(members[1]?.lastContact).toEqual({ seconds: 0n, nanos: 50_000_000 });
});

test("a member that is away lags, is not reachable, and one failure fewer is tolerated", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  cluster.network.isolate(3n);
  await cluster.run(ELECTION_TICKS + 1);
  cluster.member(1).replica.propose({ id: 1n, data: new Uint8Array(0), settle: () => undefined });
  await cluster.settle();
  const { members, failuresTolerated } = statusOf(cluster, 1);
  expect(members[2]).toMatchObject({ lagEntries: 1n, reachable: false, lastContact: { seconds: 1n } });
  expect(failuresTolerated).toBe(0);
});

test("another member leaves out what only the leader knows", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  const { members, failuresTolerated, failuresToleratedKnown } = statusOf(cluster, 2, false);
  expect(members.map(({ isLeader }) => isLeader)).toEqual([true, false, false]);
  for (const { matchIndex, lagEntries, lastContact, reachable, version } of members)
    expect([matchIndex, lagEntries, lastContact, reachable, version]).toEqual([
      ...Array<undefined>(4).fill(undefined),
      "1.0.0",
    ]);
  expect([failuresTolerated, failuresToleratedKnown]).toEqual([0, false]);
});
