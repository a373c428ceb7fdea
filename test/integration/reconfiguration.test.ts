/**
 * Membership changes and the strict reconfiguration check: which members count as started and in contact, the conditions
 * that a change waits for, joining, removing the leader, and publish.
 */
import { status } from "@grpc/grpc-js";
import { TestCluster, refusal, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import { publish } from "./support/peer";

jest.setTimeout(60_000);

const { FAILED_PRECONDITION } = status;
let cluster: TestCluster;
afterEach(() => cluster.stop());

async function twoFollowers(): Promise<[TestMember, TestMember]> {
  const [a, b] = await cluster.followers();
  if (a === undefined || b === undefined) throw new Error("no followers");
  return [a, b];
}

function contactTicks(leader: TestMember, member: TestMember): number | null {
  const { replica } = leader;
  return replica.contacts.inContactTicks(member.replica.id, replica.ticks);
}

test("an added member counts as started only after it has run, also when it joins later", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const joiner = await cluster.joiner("n4");
  const { member } = await leader.addMember({ name: "n4", peerUrl: joiner.config.peerUrl });
  expect(member?.started).toBe(false);
  const cold = (await leader.getCluster()).members.find((entry) => entry.member?.name === "n4");
  expect(cold).toMatchObject({ reachable: false, version: "", lastContact: undefined });
  await joiner.start();
  await cluster.voting();
  expect(joiner.id).toBe(member?.id);
  for (const each of cluster.running) {
    const { members } = await each.getMembers();
    expect(members.map(({ name, started }) => `${name} ${String(started)}`).sort()).toEqual([
      "n1 true",
      "n2 true",
      "n3 true",
      "n4 true",
    ]);
  }
  const { quorumSize, failuresTolerated } = await joiner.getCluster();
  expect({ quorumSize, failuresTolerated }).toEqual({ quorumSize: 3, failuresTolerated: 1 });
  // The new member votes now: the four members tolerate the loss of any one, including the leader.
  await leader.stop();
  const next = await cluster.leader();
  await next.updateAdminUrl({ name: "n4", adminUrls: ["http://127.0.0.1:1"] });
});

test("a joiner started before AddMember waits, and joins a cluster of one", async () => {
  cluster = await TestCluster.start(1);
  const alone = await cluster.leader();
  const joiner = await cluster.joiner("n2");
  const starting = joiner.start();
  const peerUrl = joiner.config.peerUrl;
  await alone.addMember({ name: "n2", peerUrl, validateOnly: true });
  const { member } = await alone.addMember({ name: "n2", peerUrl });
  await starting;
  await cluster.voting();
  expect(joiner.id).toBe(member?.id);
  const { quorumSize, failuresTolerated } = await joiner.getCluster();
  expect({ quorumSize, failuresTolerated }).toEqual({ quorumSize: 2, failuresTolerated: 0 });
  // Back to one member: either of the two can be removed, even the leader.
  await cluster.stable();
  await joiner.deleteMember({ name: "n1" });
  expect(await alone.ended()).toBe(8);
  cluster.forget(alone);
  const { members } = await joiner.getMembers();
  expect(members.map(({ name }) => name)).toEqual(["n2"]);
  await refusal(joiner.deleteMember({ name: "n2" }), FAILED_PRECONDITION, "LAST_VOTER");
});

test("a change waits within its deadline until members have been in contact for two election timeouts", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [back, gone] = await twoFollowers();
  await back.stop();
  await until("out of contact", async () => (await leader.getCluster()).failuresTolerated === 0);
  await back.start();
  await until("in contact again", () => contactTicks(leader, back) !== null);
  expect(contactTicks(leader, back)).toBeLessThan(2 * leader.replica.electionTicks);
  await back.deleteMember({ name: gone.name });
  expect(contactTicks(leader, back)).toBeGreaterThanOrEqual(2 * leader.replica.electionTicks);
  expect(await gone.ended()).toBe(8);
  cluster.forget(gone);
});

test("when the deadline is too short for that, the change is refused at once with a retry delay", async () => {
  cluster = await TestCluster.start(3, { config: { electionMs: 2000 } });
  const leader = await cluster.leader();
  const [follower] = await twoFollowers();
  expect(contactTicks(leader, follower) ?? 0).toBeLessThan(2 * leader.replica.electionTicks);
  const started = leader.replica.ticks;
  const call = follower.deleteMember({ name: leader.name }, { timeoutMs: 1000 });
  const error = await refusal(call, FAILED_PRECONDITION, "UNHEALTHY_CLUSTER");
  expect(leader.replica.ticks - started).toBeLessThan(40);
  expect(error.retryDelayMs).toBeGreaterThan(1000);
  expect(error.retryDelayMs).toBeLessThanOrEqual(4000);
  expect(error.metadata["blocking_names"]?.split(",").sort()).not.toContain(leader.name);
});

test.each(["the leader itself", "a follower"])("removing the leader, asked at %s", async (where) => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [follower, other] = await twoFollowers();
  const asked = where === "a follower" ? follower : leader;
  const term = leader.replica.term;
  const { member, members, header } = await asked.deleteMember({ name: leader.name });
  expect(member?.name).toBe(leader.name);
  expect(members.map(({ name }) => name).sort()).toEqual([follower.name, other.name].sort());
  // Leadership was transferred first: the change is an entry of the next leader.
  expect(header?.raftTerm).toBe(BigInt(term) + 1n);
  expect([follower.id, other.id]).toContain(header?.memberId);
  expect(await leader.ended()).toBe(8);
  cluster.forget(leader);
  const next = await cluster.leader();
  await next.updateAdminUrl({ name: follower.name, adminUrls: ["http://127.0.0.1:1"] });
  expect((await follower.getMembers()).members).toHaveLength(2);
  await cluster.agreed();
});

test("a new member can have the name and the URL of a removed one", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [gone] = await twoFollowers();
  const oldId = gone.id;
  await leader.deleteMember({ id: oldId });
  await gone.ended();
  await gone.wipe();
  const joiner = await cluster.joiner(gone.name);
  cluster.forget(gone);
  await cluster.stable();
  const { member } = await leader.addMember({ name: gone.name, peerUrl: joiner.config.peerUrl });
  await joiner.start();
  await cluster.voting();
  expect(joiner.id).toBe(member?.id);
  expect(joiner.id).not.toBe(oldId);
});

test("publish: a restart with the same settings proposes nothing; the configured admin URL wins over UpdateAdminURL", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [follower] = await twoFollowers();
  const before = (await leader.getMembers()).header?.revision;
  await follower.stop();
  await follower.start();
  await cluster.settled();
  // The publish has been answered by the time a repeated one would have been sent.
  const ticks = leader.replica.ticks;
  await until("some ticks", () => leader.replica.ticks > ticks + 30);
  expect((await leader.getMembers()).header?.revision).toBe(before);

  await leader.updateAdminUrl({ name: follower.name, adminUrls: ["http://127.0.0.1:9"] });
  await follower.stop();
  await follower.start();
  await until("the configured URL is back", async () => {
    const { members } = await leader.getMembers();
    const found = members.find(({ name }) => name === follower.name);
    return found?.adminUrls.join() === follower.config.adminUrl && found.started;
  });
});

test("a publish that is repeated late does not undo what was acknowledged in between", async () => {
  cluster = await TestCluster.start(3);
  const [member] = await twoFollowers();
  const { replica } = member;
  const instanceId = Buffer.from(replica.roster.member(replica.id)?.instanceId ?? []);
  const again = { instanceId, adminUrls: ["http://127.0.0.1:31"], requestId: "one publish" };
  const first = await publish(member, again);
  await member.updateAdminUrl({ name: member.name, adminUrls: ["http://127.0.0.1:32"] });
  expect(await publish(member, again)).toBe(first);
  const { members } = await member.getMembers();
  expect(members.find(({ name }) => name === member.name)?.adminUrls).toEqual(["http://127.0.0.1:32"]);
});
