/**
 * ReplaceMember over the wire: side by side to the end whoever is replaced and whoever leads, in place after a lost disk, what
 * cancels it, and what it does when a member dies half-way.
 */
import { status } from "@grpc/grpc-js";
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import { RosterEvent_Kind } from "../../src/roster/index";
import { TestCluster, refusal, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(90_000);

const { FAILED_PRECONDITION } = status;
const NOWHERE = "http://127.0.0.1:1";
const REMOVED = 8;

let cluster: TestCluster;
afterEach(() => cluster.stop());

const votersOf = (at: TestMember): string[] =>
  at.roster
    .members()
    .filter(({ learner }) => !learner)
    .map(({ name }) => name)
    .sort();
const namesOf = (at: TestMember): string[] =>
  at.roster
    .members()
    .map(({ name }) => name)
    .sort();

const awayAt = ({ replica }: TestMember, id: bigint): boolean =>
  replica.contacts.inContactTicks(id, replica.ticks) === null;

async function aFollower(): Promise<TestMember> {
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("no follower");
  return follower;
}

/** Begins the replacement of `old` by a member with this name, which is not started yet. */
async function begun(at: TestMember, old: string, name: string): Promise<TestMember> {
  const joiner = await cluster.joiner(name);
  const { member } = await at.replaceMember({ name: old, newName: name, peerUrl: joiner.config.peerUrl });
  const replaced = at.roster.memberByName(old)?.id.toString(16);
  expect(member).toMatchObject({ name, role: MemberRole.LEARNER, started: false, replaces: replaced });
  return joiner;
}

/** Waits until the old member has ended, since it was removed, and all others agree. */
async function finished(old: TestMember): Promise<void> {
  expect(await old.ended()).toBe(REMOVED);
  cluster.forget(old);
  await cluster.settled();
  await cluster.agreed();
}

describe("side by side", () => {
  test("the leader is replaced, asked for at a follower: it hands over, ends, and the new one votes", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const joiner = await begun(await aFollower(), leader.name, "n4");
    await joiner.start();
    await finished(leader);
    const next = await cluster.leader();
    expect(votersOf(next)).toContain("n4");
    expect(votersOf(next)).toHaveLength(3);
    expect(next.roster.memberByName("n4")).toMatchObject({ replaces: 0n, learner: false });
    const steps = next.roster.eventsSince(0)?.slice(-2) ?? [];
    expect(steps.map(({ kind, caller }) => [kind, caller])).toEqual([
      [RosterEvent_Kind.PROMOTED, "steward"],
      [RosterEvent_Kind.REMOVED, "steward"],
    ]);
    expect((await joiner.getCluster()).failuresTolerated).toBe(1);
  });

  test("the only member is replaced", async () => {
    cluster = await TestCluster.start(1);
    const only = await cluster.leader();
    const joiner = await begun(only, "n1", "n2");
    await joiner.start();
    await finished(only);
    expect(votersOf(joiner)).toEqual(["n2"]);
    const { header } = await joiner.updateAdminUrl({ name: "n2", adminUrls: ["http://127.0.0.1:9"] });
    expect(header?.leaderId).toBe(joiner.id);
  });

  test("a read replica and a standby are replaced by their like; the new one can be asked meanwhile", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    for (const [name, target] of [
      ["r1", MemberTarget.LEARNER],
      ["s1", MemberTarget.STANDBY],
    ] as const) {
      const old = await cluster.joiner(name);
      await leader.addMember({ name, peerUrl: old.config.peerUrl, target });
      await old.start();
      await cluster.settled();
      const joiner = await begun(leader, name, `${name}b`);
      await joiner.start();
      await finished(old);
      const { members } = await joiner.getMembers();
      expect(members.find((member) => member.name === `${name}b`)).toMatchObject({
        role: MemberRole.LEARNER,
        target,
        replaces: "",
      });
      expect(votersOf(joiner)).toEqual(["n1", "n2", "n3"]);
    }
  });

  test("the removal of the new one cancels, also after it has started; the old one never notices", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const old = await aFollower();
    await begun(leader, old.name, "n4");
    const busy = await refusal(
      leader.replaceMember({ name: old.name, newName: "n5", peerUrl: NOWHERE }),
      FAILED_PRECONDITION,
      "REPLACEMENT_UNDER_WAY",
    );
    expect(busy.metadata).toMatchObject({ name: "n4", replaced_name: old.name });
    expect(busy.details).toContain("muster member remove n4");
    await old.deleteMember({ name: "n4" });
    cluster.forget(cluster.member("n4"));
    const { members } = await leader.getMembers();
    expect(members.map(({ name, replaces }) => [name, replaces])).toEqual(
      members.map(({ name }) => [name, ""]),
    );
    // Now another one may take its place.
    const joiner = await begun(leader, old.name, "n5");
    await joiner.start();
    await finished(old);
  });

  test("a new member that dies half-way: nothing happens until it is back, and a wrong URL is mended", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const old = await aFollower();
    const joiner = await cluster.joiner("n4");
    await leader.replaceMember({ name: old.name, newName: "n4", peerUrl: NOWHERE });
    await leader.updateMember({ name: "n4", newPeerUrl: joiner.config.peerUrl });
    await joiner.start();
    await until("n4 published", () => leader.roster.memberByName("n4")?.started === true);
    const before = leader.roster.memberByName("n4");
    await joiner.stop();
    const id = before?.id ?? 0n;
    await until("out of contact", () => awayAt(leader, id));
    // It may have been ready before it was stopped.
    if (before?.learner === true && leader.roster.memberByName("n4")?.learner === true) {
      expect(namesOf(leader)).toEqual(["n1", "n2", "n3", "n4"]);
      expect(leader.roster.memberByName("n4")?.replaces).toBe(old.replica.id);
    }
    await joiner.start();
    await finished(old);
    expect(votersOf(await cluster.leader())).toContain("n4");
  });

  test("a new leader goes on with what another one began", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const old = await aFollower();
    const joiner = await begun(leader, old.name, "n4");
    await leader.stop();
    await cluster.leader();
    await joiner.start();
    await until(
      "the replacement is done",
      () => old.exitCode !== null || !namesOf(joiner).includes(old.name),
    );
    await leader.start();
    await finished(old);
    const next = await cluster.leader();
    expect(votersOf(next)).toEqual(["n1", "n2", "n3", "n4"].filter((name) => name !== old.name));
    const removals = next.roster.eventsSince(0)?.filter(({ kind }) => kind === RosterEvent_Kind.REMOVED);
    expect(removals).toHaveLength(1);
  });

  test("under constant writes it comes to its end, and none of them fails", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const old = await aFollower();
    const other = cluster.running.find((member) => member !== leader && member !== old);
    if (other === undefined) throw new Error("no other follower");
    const joiner = await begun(leader, old.name, "n4");
    let stopping = false;
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let n = 0; !stopping; n++) {
        const adminUrls = [`http://10.0.${String(writer)}.${String(n & 255)}:1`];
        await (writer % 2 === 0 ? leader : other).updateAdminUrl({ name: other.name, adminUrls });
      }
    });
    try {
      await joiner.start();
      await until("the replacement is finished", () => votersOf(leader).includes("n4"), 30_000);
    } finally {
      stopping = true;
    }
    await Promise.all(writers);
    await finished(old);
  });

  test("a dry run shows the quorum on the way, and changes nothing", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const follower = await aFollower();
    const before = leader.roster.hash();
    const request = { name: "n1", newName: "n4", peerUrl: NOWHERE, validateOnly: true };
    const { member, quorumSteps, members } = await follower.replaceMember(request);
    expect(member).toMatchObject({ id: "", name: "n4", role: MemberRole.LEARNER });
    expect(members).toHaveLength(3);
    const three = { voters: 3, quorumSize: 2, failuresTolerated: 1 };
    expect(quorumSteps).toEqual([
      { description: "now", ...three },
      { description: "n4 joins as a learner", ...three },
      { description: "n4 votes, n1 is removed", ...three },
    ]);
    expect(leader.roster.hash()).toBe(before);
    const added = await follower.addMember({ name: "n4", peerUrl: NOWHERE, validateOnly: true });
    expect(added.quorumSteps.map(({ voters, quorumSize }) => [voters, quorumSize])).toEqual([
      [3, 2],
      [3, 2],
      [4, 3],
    ]);
    const removed = await leader.deleteMember({ name: follower.name, validateOnly: true });
    expect(removed.quorumSteps.at(-1)).toMatchObject({ voters: 2, quorumSize: 2, failuresTolerated: 0 });
  });

  test("a repeat with the same request id begins nothing new, also after the end", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const old = await aFollower();
    const joiner = await cluster.joiner("n4");
    const request = { name: old.name, newName: "n4", peerUrl: joiner.config.peerUrl, requestId: "once" };
    const first = await leader.replaceMember(request);
    expect((await old.replaceMember(request)).header?.revision).toBe(first.header?.revision);
    await joiner.start();
    await finished(old);
    const again = await joiner.replaceMember(request);
    expect([again.header?.revision, again.member?.id]).toEqual([first.header?.revision, first.member?.id]);
    expect(namesOf(joiner)).toHaveLength(3);
  });
});

describe("in place", () => {
  test.each(["with the name left out", "with the old name given"])("after a lost disk, %s", async (how) => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const lost = await aFollower();
    const { name, id } = lost;
    await lost.wipe();
    const newName = how === "with the name left out" ? "" : name;
    await until("out of contact", () => awayAt(leader, BigInt(`0x${id}`)));
    const dry = await leader.replaceMember({ id, newName, validateOnly: true });
    expect(dry.quorumSteps.map(({ description, voters }) => [description, voters])).toEqual([
      ["now", 3],
      [`the old ${name} is removed, the new one joins as a learner`, 2],
      [`the new ${name} votes`, 3],
    ]);
    const { member } = await leader.replaceMember({ id, newName });
    expect(member).toMatchObject({
      name,
      peerUrls: [lost.config.peerUrl],
      role: MemberRole.LEARNER,
      target: MemberTarget.VOTER,
      replaces: "",
    });
    expect(member?.id).not.toBe(id);
    await lost.start({ initialClusterState: "existing" });
    await cluster.voting();
    expect(lost.id).toBe(member?.id);
    await cluster.agreed();
    expect((await lost.getCluster()).failuresTolerated).toBe(1);
  });

  test("a member that answers is not replaced so, at whichever member one asks; the leader itself neither", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const before = leader.roster.revision;
    for (const at of cluster.running) {
      for (const { name } of cluster.running) {
        const error = await refusal(at.replaceMember({ name }), FAILED_PRECONDITION, "MEMBER_IN_CONTACT");
        expect(error.metadata["name"]).toBe(name);
        expect(error.details).toContain("another name and peer URL");
        expect(error.retryDelayMs).toBeGreaterThan(0);
      }
    }
    expect(leader.roster.revision).toBe(before);
  });

  test("the old one, if it was only away, ends as removed when it comes back", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const away = await aFollower();
    const id = away.replica.id;
    await away.stop();
    await until("out of contact", () => awayAt(leader, id));
    await leader.replaceMember({ name: away.name });
    await away.start();
    expect(await away.ended()).toBe(REMOVED);
    // Its directory is marked; with an empty one it is the new member.
    await away.wipe();
    await away.start({ initialClusterState: "existing" });
    await cluster.voting();
    await cluster.agreed();
  });

  test("with another peer URL, since the machine has moved", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const lost = await aFollower();
    const id = lost.replica.id;
    await lost.wipe();
    cluster.forget(lost);
    const moved = await cluster.joiner(lost.name);
    await until("out of contact", () => awayAt(leader, id));
    await leader.replaceMember({ name: lost.name, peerUrl: moved.config.peerUrl });
    await moved.start();
    await cluster.voting();
    await cluster.agreed();
  });

  test("while the replacement of a voter has lost its own disk it goes on under its new id", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const old = await aFollower();
    // Never started: out of contact from the beginning.
    const joiner = await begun(leader, old.name, "n4");
    const { member } = await leader.replaceMember({ name: "n4" });
    expect(member).toMatchObject({ name: "n4", replaces: old.id });
    await joiner.start();
    await finished(old);
    expect(joiner.id).toBe(member?.id);
  });
});
