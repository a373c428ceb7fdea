/** Which members may talk to this one: by the roster, by the data directory, and by the disk. */
import { handshakeOf } from "../../src/transport/handshake";
import type { Handshake } from "../../src/generated/muster/raft/v1/raft_service";
import { CLUSTER_ID, instanceId } from "../replica/support/first_log";
import { add, publish, remove } from "../roster/support/log";
import { MemoryCluster, urlOf } from "./support/memory_cluster";
import { decodeDetails } from "../../src/rpc/error_details";

function handshake(n: number, given: Partial<Handshake> = {}): Handshake {
  const self = { clusterId: CLUSTER_ID, memberId: BigInt(n), instanceId: instanceId(n), peerUrl: urlOf(n) };
  return { ...handshakeOf(self, 1n), ...given };
}

const WIPED = { instanceId: Buffer.from(instanceId(77)) };

let cluster: MemoryCluster;
beforeEach(async () => {
  cluster = await new MemoryCluster().startLedBy(1, false);
  for (const n of [1, 2]) await cluster.write(1, publish(n)).settled();
});

const check = (given: Handshake): string | null =>
  cluster.member(1).peerAdmission.check(given)?.reason ?? null;

test.each<[string, () => Handshake, string | null]>([
  ["a member that has published, with its own directory", () => handshake(2), null],
  ["the same with another directory", () => handshake(2, WIPED), "MEMBER_WIPED"],
  ["a member that has not published, with its own directory", () => handshake(3), null],
  ["the same with another directory than the one that was met", () => handshake(3, WIPED), "MEMBER_WIPED"],
  ["one that the roster does not list yet", () => handshake(9), null],
  ["another cluster's", () => handshake(2, { clusterId: 99n }), "CLUSTER_ID_MISMATCH"],
  [
    "another cluster's with another directory",
    () => handshake(2, { ...WIPED, clusterId: 99n }),
    "CLUSTER_ID_MISMATCH",
  ],
])("%s", (_what, given, expected) => {
  expect(check(given())).toBe(expected);
});

test("a removed member is refused with its name and the revision of its removal", async () => {
  cluster.network.passes = ({ to }) => to !== 3n;
  const revision = await cluster.write(1, remove({ id: 3n })).settled();
  expect(check(handshake(3))).toBe("MEMBER_REMOVED");
  expect(check(handshake(3, WIPED))).toBe("MEMBER_REMOVED");
  const { peerAdmission } = cluster.member(1);
  const error = peerAdmission.expelled(3n);
  expect(error?.message).toBe(`member 3 (n3) was permanently removed at revision ${revision}`);
  const { metadata } = decodeDetails(error?.details ?? undefined);
  expect(Object.fromEntries(metadata ?? [])).toEqual({
    id: "3",
    name: "n3",
    revision: String(revision),
  });
  expect(peerAdmission.expelled(2n)).toBeNull();
  expect(peerAdmission.expelled(9n)).toBeNull();
});

test("a removed member is let in while its removal is on its way to the disk", async () => {
  const { storage, peerAdmission } = cluster.member(1);
  storage.holdsFrom = ({ entries, hardState }) => entries.length === 0 && hardState === null;
  cluster.write(1, remove({ id: 3n }));
  await cluster.run(1);
  expect([cluster.roster().length, check(handshake(3)), peerAdmission.expelled(3n)]).toEqual([2, null, null]);
  storage.release();
  await cluster.settle();
  expect(check(handshake(3))).toBe("MEMBER_REMOVED");
});

test("each refusal is a line that says who and why", () => {
  check(handshake(2, WIPED));
  const line = cluster.member(1).log.lines.at(-1);
  expect(line).toMatchObject({
    level: "info",
    text: "refused a peer's stream",
    fields: { from: 2n, reason: "MEMBER_WIPED" },
  });
  check(handshake(2));
  expect(cluster.member(1).log.lines.at(-1)).toBe(line);
});

test("a full disk takes no snapshot, and every other stream", () => {
  const { peerAdmission, storage } = cluster.member(1);
  expect(peerAdmission.checkSnapshot(handshake(2))).toBeNull();
  storage.space = false;
  expect(peerAdmission.checkSnapshot(handshake(2))?.reason).toBe("DISK_FULL");
  expect(peerAdmission.checkSnapshot(handshake(2, WIPED))?.reason).toBe("MEMBER_WIPED");
  expect(check(handshake(2))).toBeNull();
});

describe("an accepted stream", () => {
  const peers = () =>
    cluster.member(1).memoryTransport.peers.map(({ id, peerUrls }) => `${String(id)} ${peerUrls.join()}`);

  test("of a stranger makes it a peer, at its normal URL", () => {
    cluster.member(1).peerAdmission.accepted(handshake(9, { peerUrl: "HTTP://10.0.0.9:7461" }));
    expect(peers()).toEqual([`2 ${urlOf(2)}`, `3 ${urlOf(3)}`, "9 http://10.0.0.9:7461"]);
  });

  test("of a stranger with an address that is none makes it no peer", () => {
    cluster.member(1).peerAdmission.accepted(handshake(9, { peerUrl: "nowhere" }));
    expect(peers()).toHaveLength(2);
  });

  test("lets a joiner answer a cluster that its own roster does not list", async () => {
    await cluster.write(1, publish(3)).settled();
    await cluster.run(21);
    const added = cluster.write(1, add(4));
    await cluster.run(1);
    expect(added.tracked.state).toBe("done");
    const joiner = cluster.join(4);
    await cluster.run(3);
    expect(joiner.replica.roster.members()).toHaveLength(4);
    expect(joiner.replica.leader).toBe(1n);
  });
});

test("a member with another directory is refused by the others, and hears why", async () => {
  cluster.wiped.add(2);
  await cluster.run(1);
  const { log, ended } = cluster.member(2);
  expect(log.texts).toContainEqual(
    expect.stringMatching(/^warn member n1 \(1\) refuses this one: .*does not have the data/),
  );
  expect(ended).toEqual([]);
});

test("what a peer sent and could not be used is counted, and few lines are written", () => {
  const { peerAdmission, log } = cluster.member(1);
  for (let i = 0; i < 100; i++) peerAdmission.refused(2n, "garbage");
  expect(peerAdmission.refusedCount).toBe(100);
  const lines = log.lines.filter(({ text }) => text === "refused what a peer sent");
  expect(lines).toHaveLength(100);
  expect(lines.filter(({ level }) => level === "warn").map(({ fields }) => fields["refused"])).toEqual([
    1, 2, 4, 8, 16, 32, 64,
  ]);
});
