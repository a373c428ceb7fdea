/** Members that are looked for at the addresses of initial-cluster. */
import { AddressHints } from "../../src/cluster/address_hints";
import { HelloResponse } from "../../src/generated/muster/raft/v1/raft_service";
import type { ReplicaListener } from "../../src/replica/view";
import { promisesSettle } from "./support/tracked";

type Options = ConstructorParameters<typeof AddressHints>[0];

const CLUSTER = 7n;
const INSTANCE = Buffer.alloc(16, 1);

/** Which members one round of questions adds, when `answers` listens at http://h:1. */
async function found(
  answers: bigint,
  { members = [1n, 2n], outgoing = [] as bigint[], another = false } = {},
): Promise<bigint[]> {
  let listener: ReplicaListener = {};
  const added: bigint[] = [];
  const hello = { clusterId: CLUSTER, memberId: answers, instanceId: INSTANCE };
  const body = HelloResponse.encode(HelloResponse.fromPartial(hello)).finish();
  const fake = {
    replica: {
      id: 1n,
      clusterId: CLUSTER,
      isLeader: false,
      leader: 0n,
      ticks: 0,
      electionTicks: 10,
      roster: {
        members: () => members.map((id) => ({ id })),
        member: (id: bigint) => (members.includes(id) ? { id } : null),
      },
      status: () => ({ confState: { votersOutgoing: outgoing } }),
      listen: (given: ReplicaListener) => {
        listener = given;
        return () => undefined;
      },
      addProvisionalPeer: ({ id }: { id: bigint }) => added.push(id),
    },
    identities: { metAnother: () => another },
    peers: { ask: () => Promise.resolve(body) },
    instanceId: Buffer.alloc(16, 2),
    urls: ["http://h:1"],
  };
  new AddressHints(fake as unknown as Options);
  listener.onTick?.();
  await promisesSettle();
  return added;
}

test("a member of the roster gets the address at which it answers as a second one", async () => {
  expect(await found(2n)).toEqual([2n]);
});

test("a stranger gets none, except from a joiner whose roster is still empty", async () => {
  expect(await found(9n)).toEqual([]);
  expect(await found(9n, { members: [] })).toEqual([9n]);
});

test("another data directory of a member gets none", async () => {
  expect(await found(2n, { another: true })).toEqual([]);
});

test("a voter that has left the roster and not yet the configuration gets one: its vote may be needed", async () => {
  expect(await found(3n, { outgoing: [3n], another: true })).toEqual([3n]);
});
