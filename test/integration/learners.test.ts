/**
 * Learners over the wire: a member that is added learns first and votes by itself, one that never starts costs nothing,
 * whoever leads; targets and PromoteMember, and what is wrong with a call.
 */
import { status } from "@grpc/grpc-js";
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import { LEARNERS_MAX } from "../../src/roster/index";
import { TestCluster, refusal, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(60_000);

const { ALREADY_EXISTS, FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, ABORTED } = status;
const NOWHERE = "http://127.0.0.1:1";

let cluster: TestCluster;
afterEach(() => cluster.stop());

const roleOf = (at: TestMember, name: string): boolean | undefined => at.roster.memberByName(name)?.learner;

/** Starts a member that was added with this target, and waits until it has published itself. */
async function joined(at: TestMember, name: string, target: MemberTarget): Promise<TestMember> {
  const joiner = await cluster.joiner(name);
  const { member } = await at.addMember({ name, peerUrl: joiner.config.peerUrl, target });
  expect(member).toMatchObject({ role: MemberRole.LEARNER, target, started: false });
  await joiner.start();
  await cluster.settled();
  return joiner;
}

test("an added member is a learner, answers reads as one, and becomes a voter by itself", async () => {
  cluster = await TestCluster.start(1);
  const [first] = cluster.running;
  if (first === undefined) throw new Error("no member");
  const joiner = await joined(first, "n2", MemberTarget.VOTER);
  // Linearizable, at whatever it is by now.
  expect((await joiner.getMembers()).members.map(({ name }) => name).sort()).toEqual(["n1", "n2"]);
  await cluster.voting();
  const { members, quorumSize } = await first.getCluster();
  expect(quorumSize).toBe(2);
  expect(members.map(({ member }) => member?.target)).toEqual([MemberTarget.VOTER, MemberTarget.VOTER]);
  await cluster.agreed();
});

test("members that never start do not count, however many; the limit is 32", async () => {
  cluster = await TestCluster.start(1);
  const leader = await cluster.leader();
  const add = (n: number) =>
    leader.addMember({ name: `dead-${String(n)}`, peerUrl: `http://127.0.0.1:${String(n + 1)}` });
  for (let n = 0; n < LEARNERS_MAX; n++) await add(n);
  const error = await refusal(add(99), FAILED_PRECONDITION, "TOO_MANY_LEARNERS");
  expect(error.metadata).toEqual({ max: "32" });
  const { quorumSize, failuresTolerated } = await leader.getCluster();
  expect({ quorumSize, failuresTolerated }).toEqual({ quorumSize: 1, failuresTolerated: 0 });
  await leader.deleteMember({ name: "dead-7" });
  await add(99);
});

test("the leader that falls away before the promotion leaves nothing over: the next one promotes", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const joiner = await cluster.joiner("n4");
  await leader.addMember({ name: "n4", peerUrl: joiner.config.peerUrl });
  await joiner.start();
  await until("it is a learner that has started", () => leader.roster.memberByName("n4")?.started === true);
  await leader.stop();
  await cluster.voting();
  const next = await cluster.leader();
  const promotions = next.roster
    .eventsSince(0)
    ?.filter(({ member, kind }) => member?.name === "n4" && kind === 3);
  expect(promotions).toHaveLength(1);
  await leader.start();
  await cluster.settled();
  await cluster.agreed();
});

test("LEARNER and STANDBY stay, until PromoteMember; at a follower as at the leader", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("no follower");
  await joined(follower, "n4", MemberTarget.LEARNER);
  const standby = await joined(leader, "n5", MemberTarget.STANDBY);
  await cluster.stable();
  expect([roleOf(leader, "n4"), roleOf(leader, "n5")]).toEqual([true, true]);
  const validated = await follower.promoteMember({ name: "n4", validateOnly: true });
  expect(validated.member).toMatchObject({ role: MemberRole.VOTER, target: MemberTarget.VOTER });
  expect(roleOf(leader, "n4")).toBe(true);
  const { member, members, header } = await follower.promoteMember({ name: "n4", requestId: "p1" });
  expect(member).toMatchObject({ name: "n4", role: MemberRole.VOTER, target: MemberTarget.VOTER });
  expect(members.filter(({ role }) => role === MemberRole.VOTER)).toHaveLength(4);
  // A repeat, and a promotion of a voter, change nothing.
  const again = await leader.promoteMember({ name: "n4", requestId: "p1" });
  expect(again.header?.revision).toBe(header?.revision);
  const voter = await standby.promoteMember({ id: member?.id ?? "" });
  expect(voter.member).toEqual(member);
  expect(voter.header?.revision).toBe(header?.revision);
});

test("LEARNER_NOT_READY says what is missing, and changes nothing", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("no follower");
  await leader.addMember({ name: "n4", peerUrl: NOWHERE, target: MemberTarget.STANDBY });
  for (const validateOnly of [false, true]) {
    const error = await refusal(
      follower.promoteMember({ name: "n4", validateOnly }),
      FAILED_PRECONDITION,
      "LEARNER_NOT_READY",
    );
    expect(error.metadata).toMatchObject({ name: "n4", started: "false", in_contact: "false" });
    expect(Number(error.metadata["lag_entries"])).toBeGreaterThan(0);
    expect(error.retryDelayMs).toBeGreaterThan(0);
  }
  const { members } = await leader.getMembers();
  expect(members.find(({ name }) => name === "n4")?.target).toBe(MemberTarget.STANDBY);
  // One that has started and stopped again lacks contact.
  const joiner = await joined(leader, "n5", MemberTarget.LEARNER);
  const id = joiner.replica.id;
  await joiner.stop();
  await until(
    "out of contact",
    () => leader.replica.contacts.inContactTicks(id, leader.replica.ticks) === null,
  );
  const error = await refusal(leader.promoteMember({ name: "n5" }), FAILED_PRECONDITION, "LEARNER_NOT_READY");
  expect(error.metadata).toMatchObject({ started: "true", in_contact: "false" });
});

describe("what is wrong with a call", () => {
  test("targets and names that there are not", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const [follower, other] = await cluster.followers();
    if (follower === undefined || other === undefined) throw new Error("no followers");
    for (const target of [4, -1, 2 ** 31 - 1]) {
      const add = follower.addMember({ name: "n4", peerUrl: NOWHERE, target: target as MemberTarget });
      const { violations } = await refusal(add, INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(violations.map(({ field }) => field)).toEqual(["target"]);
    }
    const added = await leader.addMember({ name: "gone", peerUrl: NOWHERE });
    await leader.deleteMember({ name: "gone" });
    const id = added.member?.id ?? "";
    for (const at of [leader, follower]) {
      await refusal(at.promoteMember({}), INVALID_ARGUMENT, "INVALID_REQUEST");
      await refusal(at.promoteMember({ name: " " }), INVALID_ARGUMENT, "INVALID_REQUEST");
      await refusal(at.promoteMember({ id: "0" }), INVALID_ARGUMENT, "INVALID_REQUEST");
      await refusal(at.promoteMember({ id: "10000000000000000" }), INVALID_ARGUMENT, "INVALID_REQUEST");
      await refusal(at.promoteMember({ name: "nobody" }), NOT_FOUND, "MEMBER_NOT_FOUND");
      await refusal(at.promoteMember({ name: "gone" }), NOT_FOUND, "MEMBER_REMOVED");
      await refusal(at.promoteMember({ id }), NOT_FOUND, "MEMBER_REMOVED");
      const both = at.promoteMember({ id: follower.id, name: other.name });
      await refusal(both, FAILED_PRECONDITION, "MEMBER_MISMATCH");
      await refusal(at.promoteMember({ name: "n1", expectedRevision: 1n }), ABORTED, "REVISION_MISMATCH");
    }
    await leader.addMember({ name: "n4", peerUrl: NOWHERE, requestId: "once" });
    const reused = leader.addMember({
      name: "n4",
      peerUrl: NOWHERE,
      requestId: "once",
      target: MemberTarget.LEARNER,
    });
    await refusal(reused, INVALID_ARGUMENT, "REQUEST_ID_REUSED");
    const same = await refusal(
      leader.addMember({ name: "n4", peerUrl: NOWHERE }),
      ALREADY_EXISTS,
      "MEMBER_NAME_EXISTS",
    );
    expect(same.details).toContain("has never started; start it");
  });
});

describe("ChangeMembers", () => {
  const named = (...names: string[]) => names.map((name) => ({ name, id: "" }));
  const votersOf = (at: TestMember): string[] =>
    at.roster
      .members()
      .filter(({ learner }) => !learner)
      .map(({ name }) => name)
      .sort();

  test("a data centre moves in one change, the leader with it; asked at a member that leaves", async () => {
    cluster = await TestCluster.start(3);
    const old = [...cluster.running];
    const leader = await cluster.stable();
    for (const name of ["m1", "m2", "m3"]) await joined(leader, name, MemberTarget.LEARNER);
    const asked = await cluster.stable();
    const request = {
      promote: named("m1", "m2", "m3"),
      remove: named("n1", "n2", "n3"),
      requestId: "move",
    };
    const dry = await asked.changeMembers({ ...request, requestId: "", validateOnly: true });
    expect(dry.members).toHaveLength(6);
    const { members, header } = await asked.changeMembers(request, { timeoutMs: 30_000 });
    expect(members.map(({ name }) => name).sort()).toEqual(["m1", "m2", "m3"]);
    for (const member of old) {
      expect(await member.ended()).toBe(8);
      cluster.forget(member);
    }
    const next = await cluster.leader();
    expect(votersOf(next)).toEqual(["m1", "m2", "m3"]);
    const again = await next.changeMembers(request);
    expect(again.header?.revision).toBe(header?.revision);
    await next.updateAdminUrl({ name: "m1", adminUrls: ["http://127.0.0.1:9"] });
    await cluster.agreed();
  });

  test("what is wrong with one part refuses all of it", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const [follower] = await cluster.followers();
    if (follower === undefined) throw new Error("no follower");
    await leader.addMember({ name: "n4", peerUrl: NOWHERE, target: MemberTarget.LEARNER });
    const removed = await leader.addMember({ name: "gone", peerUrl: "http://127.0.0.1:2" });
    await leader.deleteMember({ name: "gone" });
    const { header } = await leader.getMembers();
    const other = leader.roster.memberByName("n1")?.id.toString(16) ?? "";
    for (const at of [leader, follower]) {
      const bad = async (
        request: Parameters<TestMember["changeMembers"]>[0],
        code: status,
        reason: string,
      ): ReturnType<typeof refusal> => refusal(at.changeMembers(request), code, reason);
      await bad({}, INVALID_ARGUMENT, "INVALID_REQUEST");
      const many = Array.from({ length: 65 }, (_, i) => ({ name: `x${String(i)}`, id: "" }));
      await bad({ remove: many }, INVALID_ARGUMENT, "INVALID_REQUEST");
      const unnamed = await bad(
        { promote: named("n4"), demote: [{ name: "", id: "" }], remove: [{ name: "", id: "0" }] },
        INVALID_ARGUMENT,
        "INVALID_REQUEST",
      );
      expect(unnamed.violations.map(({ field }) => field)).toEqual(["demote[0].name", "remove[0].id"]);
      const twice = await bad(
        { demote: named("n1"), remove: [{ name: "", id: other }] },
        INVALID_ARGUMENT,
        "INVALID_REQUEST",
      );
      expect(twice.violations.map(({ field }) => field)).toEqual(["remove[0]"]);
      await bad({ remove: named("n2", "nobody") }, NOT_FOUND, "MEMBER_NOT_FOUND");
      await bad({ remove: named("n2", "gone") }, NOT_FOUND, "MEMBER_REMOVED");
      const id = removed.member?.id ?? "";
      await bad({ promote: [{ name: "", id }] }, NOT_FOUND, "MEMBER_REMOVED");
      await bad({ remove: [{ name: "n2", id: other }] }, FAILED_PRECONDITION, "MEMBER_MISMATCH");
      await bad({ demote: named("n1", "n2"), remove: named("n3") }, FAILED_PRECONDITION, "LAST_VOTER");
      await bad({ promote: named("n4"), remove: named("n3") }, FAILED_PRECONDITION, "LEARNER_NOT_READY");
      await bad({ remove: named("n4"), expectedRevision: 1n }, ABORTED, "REVISION_MISMATCH");
    }
    expect((await leader.getMembers()).header?.revision).toBe(header?.revision);
    // A voter that is demoted stays a member, and a learner.
    const { members } = await follower.changeMembers({ demote: named(follower.name) });
    const demoted = members.find(({ name }) => name === follower.name);
    expect(demoted).toMatchObject({ role: MemberRole.LEARNER, target: MemberTarget.LEARNER });
    await cluster.agreed();
  });
});
