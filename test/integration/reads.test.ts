/** Reads over the wire: the contents of linearizable and serializable answers, and which member answers. */
import { ELECTION_MS, TestCluster, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import { SyncGates } from "./support/sync_gate";

jest.setTimeout(60_000);

const LINEARIZABLE = 1;
const SERIALIZABLE = 2;
const gates = new SyncGates();
let cluster: TestCluster;

/** The milliseconds of a google.protobuf.Duration; 0 when there is none. */
function milliseconds(duration: { seconds: bigint; nanos: number } | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

let leader: TestMember;
let follower: TestMember;
let other: TestMember;

beforeAll(async () => {
  cluster = await TestCluster.start(3, { depsOf: gates.depsOf });
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  leader = await cluster.stable();
  const [a, b] = await cluster.followers();
  if (a === undefined || b === undefined) throw new Error("no followers");
  follower = a;
  other = b;
});
afterEach(() => {
  gates.liftAll();
});

const admin = (name: string, port: number) => ({ name, adminUrls: [`http://127.0.0.1:${String(port)}`] });

test("GetMembers: every member gives the same list, sorted by id, and names itself in the header", async () => {
  const answers = await Promise.all(cluster.members.map((member) => member.getMembers()));
  for (const [i, { header, members }] of answers.entries()) {
    expect(header).toEqual({
      clusterId: leader.replica.clusterId.toString(16),
      memberId: cluster.members[i]?.id,
      revision: answers[0]?.header?.revision,
      raftTerm: BigInt(leader.replica.term),
      leaderId: leader.id,
    });
    expect(members).toEqual(answers[0]?.members);
  }
  const members = answers[0]?.members ?? [];
  const ids = members.map(({ id }) => BigInt(`0x${id}`));
  expect(ids).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)));
  for (const member of members) {
    const { config } = cluster.member(member.name);
    expect(member).toMatchObject({ peerUrls: [config.peerUrl], adminUrls: [config.adminUrl], started: true });
    expect(member.id).toBe(cluster.member(member.name).id);
  }
  // Bootstrap wrote one entry for each member, in order of id.
  expect(members.map(({ createRevision }) => createRevision)).toEqual([1n, 2n, 3n]);
});

test("a read without a given consistency has every change acknowledged before it, at any member", async () => {
  const members = [leader, follower, other];
  for (let i = 0; i < 40; i++) {
    const [writer = leader, reader = leader] = [members[i % 3], members[(i * 2 + 1) % 3]];
    const { header } = await writer.updateAdminUrl(admin("n1", 100 + i));
    const read = await reader.getMembers(0);
    expect(read.header?.revision).toBe(header?.revision);
    expect(read.members.find(({ name }) => name === "n1")?.adminUrls).toEqual([
      `http://127.0.0.1:${String(100 + i)}`,
    ]);
  }
});

test("a member that is behind answers a serializable read at once, and a linearizable one when it has caught up", async () => {
  gates.of(follower.name).shut();
  const before = follower.roster.revision;
  const { header } = await leader.updateAdminUrl(admin("n1", 201));
  const old = await follower.getMembers(SERIALIZABLE);
  expect(old.header?.revision).toBe(BigInt(before));
  const settled: string[] = [];
  const fresh = follower.getMembers(LINEARIZABLE).then((response) => {
    settled.push("read");
    return response;
  });
  const ticks = follower.replica.ticks;
  await until("some ticks", () => follower.replica.ticks > ticks + 5);
  expect(settled).toEqual([]);
  gates.liftAll();
  expect((await fresh).header?.revision).toBe(header?.revision);
});

test("GetCluster, linearizable: the leader answers, wherever it is asked", async () => {
  for (const member of [leader, follower, other]) {
    const answer = await member.getCluster();
    expect(answer.header).toMatchObject({ memberId: leader.id, leaderId: leader.id });
    expect(answer.quorumSize).toBe(2);
    expect(answer.failuresTolerated).toBe(1);
    expect(answer.commitIndex).toBeGreaterThanOrEqual(answer.header?.revision ?? 0n);
    expect(answer.appliedIndex).toBeLessThanOrEqual(answer.commitIndex);
    for (const entry of answer.members) {
      expect(entry.isLeader).toBe(entry.member?.id === leader.id);
      expect(entry.reachable).toBe(true);
      expect(entry.version).toMatch(/^\d+\.\d+\.\d+/);
      expect(entry.matchIndex).toBeGreaterThan(0n);
      expect(entry.lagEntries).toBe(0n);
      expect(Number(entry.lastContact?.seconds)).toBe(0);
    }
    expect(answer.members.map((entry) => entry.member)).toEqual((await leader.getMembers()).members);
  }
});

test("GetCluster, serializable: the member itself answers, without what only the leader knows", async () => {
  for (const member of [leader, follower]) {
    const answer = await member.getCluster(SERIALIZABLE);
    expect(answer.header).toMatchObject({ memberId: member.id, leaderId: leader.id });
    expect(answer.quorumSize).toBe(2);
    expect(answer.failuresTolerated).toBe(0);
    expect(answer.failuresToleratedKnown).toBe(false);
    expect(answer.appliedIndex).toBe(BigInt(member.replica.applied));
    for (const entry of answer.members) {
      expect(entry.isLeader).toBe(entry.member?.id === leader.id);
      expect(entry.version).not.toBe("");
      expect([entry.matchIndex, entry.lagEntries, entry.lastContact, entry.reachable]).toEqual([
        undefined,
        undefined,
        undefined,
        undefined,
      ]);
    }
  }
});

test("a lagging member is shown with its lag, a stopped one as not reachable; failures_tolerated changes accordingly", async () => {
  gates.of(follower.name).shut();
  await leader.updateAdminUrl(admin("n1", 301));
  await leader.updateAdminUrl(admin("n1", 302));
  const lagging = await other.getCluster();
  const behind = lagging.members.find((entry) => entry.member?.id === follower.id);
  expect(behind?.lagEntries).toBe(2n);
  expect(behind?.reachable).toBe(true);
  gates.liftAll();
  const id = follower.id;
  await follower.stop();
  // Reachability is counted in ticks, the age of the last contact by the clock; a tick may be a few milliseconds early.
  await until("the leader has not heard of it for an election timeout", async () => {
    const { members } = await leader.getCluster();
    const missed = members.find((entry) => entry.member?.id === id);
    return missed?.reachable === false && milliseconds(missed.lastContact) >= ELECTION_MS;
  });
  expect((await other.getCluster()).failuresTolerated).toBe(0);
  expect((await other.getCluster(SERIALIZABLE)).failuresToleratedKnown).toBe(false);
  await leader.updateAdminUrl(admin("n1", 303));
  const lag = (await leader.getCluster()).members.find((entry) => entry.member?.id === id);
  expect(lag?.lagEntries).toBeGreaterThan(0n);
  await follower.start();
  await until("it is reachable again", async () => {
    const answer = await leader.getCluster();
    return answer.failuresTolerated === 1 && answer.members.every((entry) => entry.lagEntries === 0n);
  });
});

test("without a quorum serializable reads go on, at every member that runs", async () => {
  await Promise.all([leader.stop(), follower.stop()]);
  await until("it knows no leader", () => other.replica.leader === 0n);
  const { members, header } = await other.getMembers(SERIALIZABLE);
  expect(members).toHaveLength(3);
  expect(header).toMatchObject({ memberId: other.id, leaderId: "" });
  expect((await other.getCluster(SERIALIZABLE)).members).toHaveLength(3);
  await Promise.all([leader.start(), follower.start()]);
  await cluster.settled();
});
