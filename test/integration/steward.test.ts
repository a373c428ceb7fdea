/**
 * What the leader does by itself, over the wire: its settings, standbys that take over and the voters that come back as
 * standbys, members that never start; who is told of it and how.
 */
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import { MemberEventKind } from "../../src/generated/muster/v1/membership_service";
import { toMemberEvent } from "../../src/roster/index";
import { ELECTION_MS, TestCluster, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(90_000);

const NOWHERE = "http://127.0.0.1:1";
const seconds = (count: number) => ({ seconds: BigInt(count), nanos: 0 });
const ZERO = seconds(0);

let cluster: TestCluster;
afterEach(() => cluster.stop());

const votersOf = (at: TestMember): string[] =>
  at.roster
    .members()
    .filter(({ learner }) => !learner)
    .map(({ name }) => name)
    .sort();

async function aFollower(): Promise<TestMember> {
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("no follower");
  return follower;
}

async function joined(at: TestMember, name: string, target: MemberTarget): Promise<TestMember> {
  const joiner = await cluster.joiner(name);
  await at.addMember({ name, peerUrl: joiner.config.peerUrl, target });
  await joiner.start();
  await cluster.settled();
  return joiner;
}

test("settings are changed in part, at any member, and shown by GetCluster at every member", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const follower = await aFollower();
  const defaults = { autoPromote: true, standbyTakeoverAfter: ZERO, removeUnstartedAfter: ZERO };
  const before = await follower.getCluster();
  expect(before.settings).toEqual(defaults);
  expect(before.features).toEqual(["target", "promote", "change", "replace", "settings"]);
  expect(before.clusterVersion).toBe(before.members[0]?.version);
  const dry = await follower.updateSettings({ autoPromote: false, validateOnly: true });
  expect(dry.settings).toEqual({ ...defaults, autoPromote: false });
  expect(leader.roster.settings.autoPromote).toBe(true);
  const half = { seconds: 1n, nanos: 500_000_000 };
  const first = await follower.updateSettings({ standbyTakeoverAfter: half, requestId: "one" });
  expect(first.settings).toEqual({ ...defaults, standbyTakeoverAfter: half });
  const second = await leader.updateSettings({ autoPromote: false, removeUnstartedAfter: seconds(86_400) });
  const all = { autoPromote: false, standbyTakeoverAfter: half, removeUnstartedAfter: seconds(86_400) };
  expect(second.settings).toEqual(all);
  expect(second.header?.revision).toBe(BigInt(leader.roster.revision));
  // What is so already is no revision, and a repeat changes nothing back.
  expect((await leader.updateSettings({ autoPromote: false })).header?.revision).toBe(
    second.header?.revision,
  );
  const again = await follower.updateSettings({ standbyTakeoverAfter: half, requestId: "one" });
  expect([again.header?.revision, again.settings]).toEqual([first.header?.revision, all]);
  await cluster.agreed();
  for (const member of cluster.running) expect((await member.getCluster(2)).settings).toEqual(all);
  // They are kept on disk, like the members.
  await follower.stop();
  await follower.start();
  await cluster.settled();
  expect((await follower.getCluster(2)).settings).toEqual(all);
  const events = leader.roster.eventsSince(Number(before.header?.revision))?.map(toMemberEvent) ?? [];
  const changes = events.filter(({ kind }) => kind === MemberEventKind.SETTINGS);
  expect(
    changes.map(({ settings, previousSettings, member, caller }) => [
      settings,
      previousSettings,
      member,
      caller,
    ]),
  ).toEqual([
    [{ ...defaults, standbyTakeoverAfter: half }, defaults, undefined, "anonymous"],
    [all, { ...defaults, standbyTakeoverAfter: half }, undefined, "anonymous"],
  ]);
});

test("a standby takes over from a dead voter, which comes back as a standby, and takes over in turn", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const standby = await joined(leader, "s1", MemberTarget.STANDBY);
  await leader.updateSettings({ standbyTakeoverAfter: seconds(1) });
  const dead = await aFollower();
  if (dead === standby) throw new Error("a standby is no follower that votes");
  await dead.stop();
  const stoppedAtMs = Date.now();
  await until("the standby votes", () => votersOf(leader).includes("s1"));
  expect(Date.now() - stoppedAtMs).toBeGreaterThan(1000);
  expect(votersOf(leader)).toHaveLength(3);
  const { members, quorumSize, failuresTolerated } = await leader.getCluster();
  expect([quorumSize, failuresTolerated]).toEqual([2, 1]);
  expect(members.find(({ member }) => member?.name === dead.name)?.member).toMatchObject({
    role: MemberRole.LEARNER,
    target: MemberTarget.STANDBY,
  });
  const last = leader.roster.eventsSince(0)?.slice(-2) ?? [];
  expect(last.map(({ caller }) => caller)).toEqual(["steward", "steward"]);
  expect(last[0]?.note).toMatch(new RegExp(`^${dead.name} was out of contact for \\d+ s$`));
  await dead.start();
  await cluster.stable();
  await cluster.settled();
  expect(votersOf(leader)).toContain("s1");
  await standby.stop();
  await until("the old voter votes again", () => votersOf(leader).includes(dead.name));
  await standby.start();
  await cluster.settled();
  await cluster.agreed();
  expect(leader.roster.memberByName("s1")).toMatchObject({ learner: true, target: MemberTarget.STANDBY });
});

test("the leader dies: the next one gives its place to the standby", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  await joined(leader, "s1", MemberTarget.STANDBY);
  await leader.updateSettings({ standbyTakeoverAfter: seconds(1) });
  await leader.stop();
  const next = await cluster.leader();
  await until("the standby votes", () => votersOf(next).includes("s1"));
  await leader.start();
  await cluster.settled();
  await cluster.agreed();
  expect(next.roster.memberByName(leader.name)).toMatchObject({
    learner: true,
    target: MemberTarget.STANDBY,
  });
});

test("a member that never starts is removed after the time that is set, and one that was set up in time stays", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  await leader.addMember({ name: "ghost", peerUrl: NOWHERE });
  await leader.updateSettings({ removeUnstartedAfter: seconds(1) });
  const joiner = await joined(leader, "n4", MemberTarget.LEARNER);
  await until("the ghost is gone", () => leader.roster.memberByName("ghost") === null);
  await joiner.stop();
  const { ticks } = leader.replica;
  const later = ticks + (3000 + ELECTION_MS) / 20;
  await until("three seconds later", () => leader.replica.ticks > later);
  expect(leader.roster.memberByName("n4")).not.toBeNull();
  const event = leader.roster.eventsSince(0)?.at(-1);
  expect([event?.caller, event?.note, event?.member?.name]).toEqual(["steward", "it never started", "ghost"]);
});

test("with auto_promote off learners wait for PromoteMember, and what is in place of a voter too", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  await leader.updateSettings({ autoPromote: false });
  const joiner = await joined(leader, "n4", MemberTarget.VOTER);
  const lost = await aFollower();
  if (lost === joiner) throw new Error("a learner is no voter");
  const id = lost.replica.id;
  await lost.wipe();
  await until(
    "out of contact",
    () => leader.replica.contacts.inContactTicks(id, leader.replica.ticks) === null,
  );
  const request = { name: lost.name, validateOnly: true };
  expect((await leader.replaceMember(request)).quorumSteps).toHaveLength(2);
  await leader.replaceMember({ ...request, validateOnly: false });
  await lost.start({ initialClusterState: "existing" });
  await cluster.settled();
  await cluster.stable();
  expect(votersOf(leader)).toHaveLength(2);
  await leader.promoteMember({ name: lost.name });
  await leader.updateSettings({ autoPromote: true });
  await cluster.voting();
  expect(votersOf(leader)).toEqual(["n1", "n2", "n3", "n4"]);
});
