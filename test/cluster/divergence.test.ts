/** Rosters are compared by the digests that the leader sends with its heartbeats. */
import { MessageType, newMessage } from "../../src/raft/index";
import { DivergedError } from "../../src/replica/diverged";
import { add, adminUrls, remove } from "../roster/support/log";
import { ELECTION_TICKS, MemoryCluster } from "./support/memory_cluster";

let cluster: MemoryCluster;

beforeEach(async () => {
  cluster = await new MemoryCluster().startLedBy(1);
});

/** What the leader tells member `to` now; the time until it tells again passes before. */
async function told(to: number) {
  await cluster.run(1);
  return cluster.leader().memoryTransport.events.rosterDigest?.(BigInt(to)) ?? null;
}

test("the leader tells each member once in a heartbeat interval; a follower tells nothing", async () => {
  const { memoryTransport, rosterMachine } = cluster.member(1);
  const tell = (to: bigint) => memoryTransport.events.rosterDigest?.(to);
  await cluster.run(1);
  expect(tell(2n)).toEqual(rosterMachine.roster.digests?.latest());
  expect([tell(2n), tell(3n) === null]).toEqual([null, false]);
  await cluster.run(1);
  expect(tell(2n)).not.toBeNull();
  expect(cluster.member(2).memoryTransport.events.rosterDigest?.(1n)).toBeNull();
});

test("equal rosters go on, whatever happened and however far behind one is", async () => {
  cluster.network.isolate(3n);
  for (let i = 1; i <= 5; i++)
    await cluster.write(1, adminUrls({ id: 2n }, [`http://h:${String(i)}`])).settled();
  await cluster.write(1, add(4)).settled();
  const digest = await told(3);
  if (digest === null) throw new Error("nothing told");
  for (const n of [2, 3]) cluster.member(n).peerAdmission.digest(1n, digest);
  cluster.network.heal();
  await cluster.run(2 * ELECTION_TICKS);
  for (const n of [2, 3]) cluster.member(n).peerAdmission.digest(1n, digest);
  for (const { fatal, log } of cluster.members.values()) {
    expect(fatal).toEqual([]);
    expect(log.texts.filter((text) => text.includes("refused what"))).toEqual([]);
  }
});

describe("a follower with another roster", () => {
  test.each<[string, (revision: number) => number, RegExp]>([
    [
      "at a revision that it has",
      (revision) => revision,
      /^the roster at revision (\d+) is not that of the leader/,
    ],
    [
      "which never changed there",
      (revision) => revision - 1,
      /changed at revision \d+, and this member's did not/,
    ],
  ])("%s stops, and names the revision", async (_what, revisionOf, text) => {
    await cluster.write(1, adminUrls({ id: 2n }, ["http://h:1"])).settled();
    // An entry that changes nothing lies between the two revisions.
    await cluster.write(1, adminUrls({ id: 2n }, ["http://h:1"])).settled();
    await cluster.write(1, adminUrls({ id: 2n }, ["http://h:2"])).settled();
    await cluster.run(2);
    const digest = await told(2);
    if (digest === null) throw new Error("nothing told");
    const theirs = { revision: revisionOf(digest.revision), digest: Buffer.alloc(16, 1) };
    const { peerAdmission, fatal } = cluster.member(2);
    peerAdmission.digest(1n, theirs);
    expect(fatal).toEqual([expect.any(DivergedError)]);
    expect(fatal[0]?.message).toMatch(text);
    expect(fatal[0]?.message).toContain("remove this member and add it again with an empty data directory");
  });

  test("is not stopped by who does not lead, by a leader that it does not list, or by nonsense", async () => {
    const { peerAdmission, fatal, rosterMachine } = cluster.member(2);
    const { revision } = rosterMachine.roster;
    const other = { revision, digest: Buffer.alloc(16, 1) };
    peerAdmission.digest(3n, other);
    peerAdmission.digest(9n, other);
    peerAdmission.digest(1n, { revision: 2 ** 60, digest: Buffer.alloc(16) });
    peerAdmission.digest(1n, { revision, digest: Buffer.alloc(15) });
    expect([fatal, peerAdmission.refusedCount]).toEqual([[], 2]);
    cluster.member(1).peerAdmission.digest(2n, other);
    expect(cluster.member(1).fatal).toEqual([]);
    await cluster.write(1, remove({ id: 3n })).settled();
  });
});

test("a member whose log regressed is refused as rolled back by the leader that knows it", async () => {
  const { replica, peerAdmission } = cluster.member(1);
  expect(peerAdmission.expelled(2n)).toBeNull();
  const { term } = replica;
  const match = replica.status().progress.get(2n)?.match ?? 0;
  const regressed: bigint[] = [];
  replica.listen({ onRegressed: (id) => regressed.push(id) });
  const answer = newMessage(MessageType.HeartbeatResponse, 1n, 2n, term);
  Object.assign(answer, { reject: true, index: match, rejectHint: match - 1 });
  replica.receive(2n, [answer, answer]);
  expect(regressed).toEqual([2n]);
  const refusal = peerAdmission.expelled(2n);
  expect(refusal?.reason).toBe("MEMBER_ROLLED_BACK");
  expect(refusal?.message).toContain("the log of member n2 (2) ends before what it had acknowledged");
  expect(peerAdmission.expelled(3n)).toBeNull();
});
