/**
 * Every reason of the contract over the wire: its code, its metadata and details, and that nothing was changed. Refusals
 * that apply decides are tried at a follower too: the leader's answer comes back unchanged.
 */
import { systemClock } from "../../src/base/clock";
import { Deadline } from "../../src/base/deadline";
import { DEFAULT_CLUSTER_LIMITS } from "../../src/cluster/assemble";
import { addMemberCommand } from "../../src/roster/index";
import { status } from "@grpc/grpc-js";
import { ELECTION_MS, HEARTBEAT_MS, TestCluster, refusal, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import { PeerStream, publish, strangersHandshake } from "./support/peer";
import { SyncGates } from "./support/sync_gate";
import { TickGate } from "./support/tick_gate";

jest.setTimeout(60_000);

/** A deadline that a busy machine can meet too: a member answers 5 % before it. */
const SHORT_MS = 2500;
const NEVER = { "muster-forward": "never" };
const { INVALID_ARGUMENT, ALREADY_EXISTS, NOT_FOUND, FAILED_PRECONDITION, ABORTED, UNAVAILABLE } = status;
const { RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED } = status;

let cluster: TestCluster;

describe("refusals of the request and of the roster", () => {
  let leader: TestMember;
  let follower: TestMember;
  let other: TestMember;

  beforeAll(async () => {
    cluster = await TestCluster.start(3);
  });
  afterAll(() => cluster.stop());
  beforeEach(async () => {
    leader = await cluster.stable();
    const [a, b] = await cluster.followers();
    if (a === undefined || b === undefined) throw new Error("no followers");
    follower = a;
    other = b;
  });

  /** Makes the same call at the leader and at a follower, which must give exactly the same refusal. */
  async function refusedEverywhere(
    call: (member: TestMember) => Promise<unknown>,
    code: status,
    reason: string,
  ): ReturnType<typeof refusal> {
    const before = await leader.getMembers();
    const atLeader = await refusal(call(leader), code, reason);
    const atFollower = await refusal(call(follower), code, reason);
    expect(atFollower).toEqual(atLeader);
    const after = await leader.getMembers();
    expect(after.members).toEqual(before.members);
    expect(after.header?.revision).toBe(before.header?.revision);
    return atLeader;
  }

  test("INVALID_REQUEST names every invalid field", async () => {
    const call = (member: TestMember) =>
      member.addMember({
        name: "a b",
        peerUrl: "ftp://x:1",
        requestId: "x".repeat(65),
        expectedRevision: 1n << 60n,
      });
    const error = await refusedEverywhere(call, INVALID_ARGUMENT, "INVALID_REQUEST");
    expect(error.violations.map(({ field }) => field).sort()).toEqual([
      "expected_revision",
      "name",
      "peer_url",
      "request_id",
    ]);
    expect(error.metadata).toMatchObject({ more: "3" });
    expect(error.retryDelayMs).toBeNull();
  });

  test.each([
    ["a selector that names nobody", (m: TestMember) => m.deleteMember({}), "name"],
    ["an id that is not hex", (m: TestMember) => m.deleteMember({ id: "xyz" }), "id"],
    ["the id 0", (m: TestMember) => m.updateMember({ id: "0", newPeerUrl: "http://h:1" }), "id"],
    [
      "an id with leading zeros",
      (m: TestMember) => m.updateMember({ id: "0a", newPeerUrl: "http://h:1" }),
      "id",
    ],
    ["no new peer URL", (m: TestMember) => m.updateMember({ name: "n1" }), "new_peer_url"],
    ["no admin URL", (m: TestMember) => m.updateAdminUrl({ name: "n1" }), "admin_urls"],
    [
      "an admin URL twice",
      (m: TestMember) => m.updateAdminUrl({ name: "n1", adminUrls: ["http://h:1", "http://H:01"] }),
      "admin_urls[1]",
    ],
    [
      "a peer URL with a path",
      (m: TestMember) => m.deleteMember({ name: "n1", peerUrl: "http://h:1/" }),
      "peer_url",
    ],
  ])("INVALID_REQUEST: %s", async (_name, call, field) => {
    const error = await refusedEverywhere(call, INVALID_ARGUMENT, "INVALID_REQUEST");
    expect(error.violations.map((violation) => violation.field)).toEqual([field]);
    expect(error.metadata["field"]).toBe(field);
    expect(error.violations[0]?.description).not.toBe("");
  });

  test("MEMBER_NAME_EXISTS", async () => {
    const call = (member: TestMember) =>
      member.addMember({ name: other.name, peerUrl: "http://127.0.0.1:1" });
    const error = await refusedEverywhere(call, ALREADY_EXISTS, "MEMBER_NAME_EXISTS");
    expect(error.metadata).toEqual({ id: other.id, name: other.name });
  });

  test("PEER_URL_EXISTS, by add and by update, in another spelling too", async () => {
    const url = other.config.peerUrl.replace("http://127", "HTTP://127");
    const metadata = { id: other.id, name: other.name, peer_url: other.config.peerUrl };
    const add = (member: TestMember) => member.addMember({ name: "n9", peerUrl: url });
    expect((await refusedEverywhere(add, ALREADY_EXISTS, "PEER_URL_EXISTS")).metadata).toEqual(metadata);
    const update = (member: TestMember) => member.updateMember({ name: leader.name, newPeerUrl: url });
    expect((await refusedEverywhere(update, ALREADY_EXISTS, "PEER_URL_EXISTS")).metadata).toEqual(metadata);
  });

  test("MEMBER_NOT_FOUND, by name and by id, in each write that names a member", async () => {
    const calls = [
      (member: TestMember) => member.updateMember({ name: "nobody", newPeerUrl: "http://127.0.0.1:1" }),
      (member: TestMember) => member.deleteMember({ name: "nobody" }),
      (member: TestMember) => member.updateAdminUrl({ name: "nobody", adminUrls: ["http://127.0.0.1:1"] }),
    ];
    for (const call of calls) {
      const error = await refusedEverywhere(call, NOT_FOUND, "MEMBER_NOT_FOUND");
      expect(error.metadata).toEqual({ name: "nobody" });
    }
    const byId = (member: TestMember) => member.deleteMember({ id: "BEEF" });
    expect((await refusedEverywhere(byId, NOT_FOUND, "MEMBER_NOT_FOUND")).metadata).toEqual({ id: "beef" });
  });

  test("MEMBER_MISMATCH: id and name of two members, and a peer URL that is not the member's", async () => {
    const two = (member: TestMember) => member.deleteMember({ id: other.id, name: follower.name });
    const mismatch = await refusedEverywhere(two, FAILED_PRECONDITION, "MEMBER_MISMATCH");
    expect(mismatch.metadata).toEqual({ id: other.id, name: other.name, given_name: follower.name });
    const guard = (member: TestMember) =>
      member.deleteMember({ name: other.name, peerUrl: leader.config.peerUrl });
    const guarded = await refusedEverywhere(guard, FAILED_PRECONDITION, "MEMBER_MISMATCH");
    expect(guarded.metadata).toEqual({
      id: other.id,
      name: other.name,
      peer_url: other.config.peerUrl,
      given_peer_url: leader.config.peerUrl,
    });
  });

  test("REVISION_MISMATCH contains the current revision", async () => {
    const revision = (await leader.getMembers()).header?.revision ?? 0n;
    const call = (member: TestMember) =>
      member.updateAdminUrl({
        name: "n1",
        adminUrls: ["http://127.0.0.1:9"],
        expectedRevision: revision + 5n,
      });
    const error = await refusedEverywhere(call, ABORTED, "REVISION_MISMATCH");
    expect(error.metadata).toEqual({ revision: String(revision), expected_revision: String(revision + 5n) });
  });

  test("REQUEST_ID_REUSED: the same id with other content, and with another RPC", async () => {
    const requestId = "errors-reuse";
    await follower.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:21"], requestId });
    const content = (member: TestMember) =>
      member.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:22"], requestId });
    const error = await refusedEverywhere(content, INVALID_ARGUMENT, "REQUEST_ID_REUSED");
    expect(error.metadata).toEqual({ request_id: requestId });
    const rpc = (member: TestMember) => member.deleteMember({ name: "n1", requestId });
    await refusedEverywhere(rpc, INVALID_ARGUMENT, "REQUEST_ID_REUSED");
  });

  test("REQUEST_ID_REUSED is checked before REVISION_MISMATCH, and that before the rules", async () => {
    const requestId = "errors-order";
    await leader.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:23"], requestId });
    const both = { name: "nobody", expectedRevision: 1n };
    await refusal(leader.deleteMember({ ...both, requestId }), INVALID_ARGUMENT, "REQUEST_ID_REUSED");
    await refusal(leader.deleteMember(both), ABORTED, "REVISION_MISMATCH");
  });

  test("NOT_LEADER only for callers that forbid forwarding; it names the leader", async () => {
    const leaders = {
      leader_id: leader.id,
      leader_admin_url: leader.config.adminUrl,
      leader_peer_url: leader.config.peerUrl,
    };
    const write = await refusal(
      follower.updateAdminUrl({ name: "n2", adminUrls: ["http://127.0.0.1:24"] }, { metadata: NEVER }),
      FAILED_PRECONDITION,
      "NOT_LEADER",
    );
    expect(write.metadata).toMatchObject({
      leader_id: leaders.leader_id,
      leader_peer_url: leaders.leader_peer_url,
    });
    await leader.updateAdminUrl({ name: leader.name, adminUrls: [leader.config.adminUrl] });
    const again = await refusal(
      follower.addMember({ name: "n9", peerUrl: "http://h:1" }, { metadata: NEVER }),
      FAILED_PRECONDITION,
      "NOT_LEADER",
    );
    expect(again.metadata).toEqual(leaders);
    const read = await refusal(
      follower.getCluster(1, { metadata: NEVER }),
      FAILED_PRECONDITION,
      "NOT_LEADER",
    );
    expect(read.metadata).toEqual(leaders);
    // The leader accepts such writes, and a follower still answers reads that it does not have to forward.
    await leader.updateAdminUrl({ name: "n2", adminUrls: ["http://127.0.0.1:24"] }, { metadata: NEVER });
    await follower.getMembers(1, { metadata: NEVER });
    await follower.getCluster(2, { metadata: NEVER });
  });

  test("MEMBER_WIPED: another instance under a published id, at Publish and at the handshake", async () => {
    for (const at of [leader, follower]) {
      const error = await refusal(
        publish(at, { memberId: other.replica.id }),
        FAILED_PRECONDITION,
        "MEMBER_WIPED",
      );
      expect(error.metadata).toEqual({ id: other.id, name: other.name });
      const stream = new PeerStream(at, strangersHandshake(at, { memberId: other.replica.id }));
      const refused = await stream.refused();
      expect(refused).toMatchObject({ code: FAILED_PRECONDITION, reason: "MEMBER_WIPED" });
      expect(refused?.metadata).toEqual({ id: other.id, name: other.name });
    }
  });

  test("CLUSTER_ID_MISMATCH at Publish and at the handshake", async () => {
    const clusterId = follower.replica.clusterId + 1n;
    const error = await refusal(publish(follower, { clusterId }), FAILED_PRECONDITION, "CLUSTER_ID_MISMATCH");
    expect(error.metadata).toEqual({ cluster_id: follower.replica.clusterId.toString(16) });
    const stream = new PeerStream(follower, strangersHandshake(follower, { clusterId }));
    expect(await stream.refused()).toMatchObject({
      code: FAILED_PRECONDITION,
      reason: "CLUSTER_ID_MISMATCH",
    });
  });

  test("a publish that is malformed, or of an unknown member", async () => {
    const instanceId = Buffer.alloc(3);
    const bad = await refusal(
      publish(leader, { instanceId, version: "", adminUrls: ["nowhere"], requestId: "" }),
      INVALID_ARGUMENT,
      "INVALID_REQUEST",
    );
    const fields = bad.violations.map(({ field }) => field);
    expect(fields).toEqual(["instance_id", "version", "request_id", "admin_urls[0]"]);
    await refusal(publish(leader, { memberId: 77n }), NOT_FOUND, "MEMBER_NOT_FOUND");
  });
});

/** A voter that never started, as members of versions before 0.3.0 added them. */
async function addVoter(leader: TestMember, name: string, port: number): Promise<void> {
  const peerUrl = `http://127.0.0.1:${String(port)}`;
  const head = { proposalId: BigInt(port), timeMs: Date.now() };
  const command = addMemberCommand(head, { id: BigInt(port), name, peerUrl, adminUrls: [] });
  const deadline = Deadline.of(systemClock, 10_000, ELECTION_MS);
  const { outcome } = leader.running.cluster.submissions.submit({ command, validateOnly: false, deadline });
  expect((await outcome).kind).toBe("done");
}

describe("removed members and the strict check", () => {
  beforeAll(async () => {
    cluster = await TestCluster.start(3);
  });
  afterAll(() => cluster.stop());

  test("NOT_ENOUGH_STARTED_MEMBERS for a remove; adding learners makes nothing worse", async () => {
    const leader = await cluster.stable();
    const [follower] = await cluster.followers();
    await addVoter(leader, "n4", 1);
    await addVoter(leader, "n5", 2);
    const ids = (await leader.getMembers()).members.filter((m) => !m.started).map((m) => m.id);
    await leader.addMember({ name: "n6", peerUrl: "http://127.0.0.1:3" });
    const remove = follower?.deleteMember({ name: follower.name });
    const error = await refusal(
      remove ?? Promise.resolve(),
      FAILED_PRECONDITION,
      "NOT_ENOUGH_STARTED_MEMBERS",
    );
    expect(error.metadata["needed"]).toBe("3");
    expect(error.metadata["blocking_ids"]?.split(",").sort()).toEqual([...ids].sort());
    expect(error.metadata["blocking_names"]?.split(",").sort()).toEqual(["n4", "n5"]);
    // The repair is not blocked: members that never started can be removed.
    for (const name of ["n4", "n5", "n6"]) await leader.deleteMember({ name });
  });

  test("MEMBER_REMOVED: permanently removed, with id, revision and time; the name may be used again", async () => {
    const leader = await cluster.stable();
    const [follower] = await cluster.followers();
    const before = Date.now();
    await leader.addMember({ name: "gone", peerUrl: "http://127.0.0.1:4" });
    const removed = await leader.deleteMember({ name: "gone" });
    const id = removed.member?.id ?? "";
    const revision = removed.header?.revision ?? 0n;
    const calls = [
      leader.deleteMember({ id }),
      leader.deleteMember({ name: "gone" }),
      follower?.deleteMember({ id, name: "gone" }),
      follower?.updateMember({ id, newPeerUrl: "http://127.0.0.1:5" }),
      leader.updateAdminUrl({ id: id.toUpperCase(), adminUrls: ["http://127.0.0.1:5"] }),
    ];
    const errors = calls.map((call) => refusal(call ?? Promise.resolve(), NOT_FOUND, "MEMBER_REMOVED"));
    for (const error of await Promise.all(errors)) {
      expect(error.details).toContain("permanently removed");
      expect(error.metadata).toMatchObject({ id, name: "gone", revision: String(revision) });
      const at = Date.parse(error.metadata["time"] ?? "");
      expect(at).toBeGreaterThanOrEqual(before);
      expect(at).toBeLessThanOrEqual(Date.now());
    }
    const error = await refusal(
      leader.deleteMember({ id, name: "other" }),
      FAILED_PRECONDITION,
      "MEMBER_MISMATCH",
    );
    expect(error.metadata).toMatchObject({ name: "gone", given_name: "other" });
    const again = await leader.addMember({ name: "gone", peerUrl: "http://127.0.0.1:4" });
    expect(again.member?.id).not.toBe(id);
    const namesake = await leader.deleteMember({ name: "gone" });
    expect(namesake.member?.id).toBe(again.member?.id);
    // The refusal describes the newest tombstone of that name.
    const newest = await refusal(leader.deleteMember({ name: "gone" }), NOT_FOUND, "MEMBER_REMOVED");
    expect(newest.metadata["id"]).toBe(again.member?.id);
  });

  test("a stream of a removed member is refused as removed", async () => {
    const leader = await cluster.stable();
    const [follower] = await cluster.followers();
    const added = await leader.addMember({ name: "brief", peerUrl: "http://127.0.0.1:6" });
    await leader.deleteMember({ name: "brief" });
    const memberId = BigInt(`0x${added.member?.id ?? ""}`);
    for (const at of [leader, follower]) {
      if (at === undefined) throw new Error("no follower");
      await until("the removal is applied", () => at.roster.tombstone(memberId) !== null);
      const refused = await new PeerStream(at, strangersHandshake(at, { memberId })).refused();
      expect(refused).toMatchObject({ code: NOT_FOUND, reason: "MEMBER_REMOVED" });
    }
  });

  test("UNHEALTHY_CLUSTER names the blocking member and when to try again; the repair is allowed", async () => {
    const leader = await cluster.stable();
    const [up, down] = await cluster.followers();
    if (up === undefined || down === undefined) throw new Error("no followers");
    const id = down.id;
    await down.stop();
    await until(
      "out of contact",
      () => leader.replica.contacts.inContactTicks(BigInt(`0x${id}`), leader.replica.ticks) === null,
    );
    const atLeader = await refusal(
      leader.deleteMember({ name: up.name }),
      FAILED_PRECONDITION,
      "UNHEALTHY_CLUSTER",
    );
    expect(atLeader.metadata).toMatchObject({ blocking_names: down.name, blocking_ids: id });
    expect(atLeader.retryDelayMs).toBeGreaterThan(0);
    const atFollower = await refusal(
      up.deleteMember({ name: up.name }),
      FAILED_PRECONDITION,
      "UNHEALTHY_CLUSTER",
    );
    expect(atFollower).toEqual(atLeader);
    const validated = await refusal(
      up.deleteMember({ name: up.name, validateOnly: true }),
      FAILED_PRECONDITION,
      "UNHEALTHY_CLUSTER",
    );
    expect(validated).toEqual(atLeader);
    // A learner costs the quorum nothing.
    await up.addMember({ name: "n7", peerUrl: "http://127.0.0.1:7" });
    // Removing the member that is down is allowed.
    const { members } = await up.deleteMember({ id });
    expect(members.map((member) => member.name)).not.toContain(down.name);
  });
});

describe("a cluster of one", () => {
  beforeAll(async () => {
    cluster = await TestCluster.start(1);
  });
  afterAll(() => cluster.stop());

  test("LAST_VOTER", async () => {
    const leader = await cluster.leader();
    const error = await refusal(leader.deleteMember({ name: "n1" }), FAILED_PRECONDITION, "LAST_VOTER");
    expect(error.metadata).toEqual({ id: leader.id, name: "n1" });
  });

  test("a member at a URL where nobody is can be added, and never costs it the quorum", async () => {
    const leader = await cluster.leader();
    await leader.addMember({ name: "n2", peerUrl: "http://127.0.0.1:1" });
    const { quorumSize } = await leader.getCluster();
    expect(quorumSize).toBe(1);
    await leader.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:5"] });
    await refusal(leader.deleteMember({ name: "n1" }), FAILED_PRECONDITION, "LAST_VOTER");
  });
});

describe("writes that are held up", () => {
  const gates = new SyncGates();
  let leader: TestMember;
  let follower: TestMember;

  beforeEach(async () => {
    cluster = await TestCluster.start(3, {
      deps: { limits: { ...DEFAULT_CLUSTER_LIMITS, writesWaitingMax: 3 } },
      depsOf: gates.depsOf,
    });
    leader = await cluster.stable();
    const [a] = await cluster.followers();
    if (a === undefined) throw new Error("no follower");
    follower = a;
  });
  afterEach(async () => {
    gates.liftAll();
    await cluster.stop();
  });

  /** From here on no entry is committed, but the leader stays leader. */
  async function holdCommits(): Promise<void> {
    for (const member of await cluster.followers()) gates.of(member.name).shut();
  }

  const admin = (port: number) => ({ name: "n1", adminUrls: [`http://127.0.0.1:${String(port)}`] });

  test("OUTCOME_UNKNOWN at the leader and at a follower; a repeat gets the outcome of the first", async () => {
    await holdCommits();
    const waiting = [
      leader.updateAdminUrl({ ...admin(31), requestId: "unknown-1" }, { timeoutMs: SHORT_MS }),
      follower.updateAdminUrl({ ...admin(32), requestId: "unknown-2" }, { timeoutMs: SHORT_MS }),
    ];
    await Promise.all(waiting.map((call) => refusal(call, DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN")));
    gates.liftAll();
    const first = await follower.updateAdminUrl({ ...admin(31), requestId: "unknown-1" });
    const second = await leader.updateAdminUrl({ ...admin(32), requestId: "unknown-2" });
    expect(first.member?.adminUrls).toEqual(["http://127.0.0.1:31"]);
    expect(second.member?.adminUrls).toEqual(["http://127.0.0.1:32"]);
    // Each request changed the roster once, in the entry of its first attempt.
    expect(second.header?.revision).not.toBe(first.header?.revision);
    const { header } = await leader.getMembers();
    const newest = [first, second]
      .map((response) => response.header?.revision ?? 0n)
      .sort((a, b) => Number(b - a))[0];
    expect(header?.revision).toBe(newest);
  });

  test("NOT_PROPOSED for a membership change that waits behind another", async () => {
    await holdCommits();
    const head = leader.addMember(
      { name: "n4", peerUrl: "http://127.0.0.1:1", requestId: "head" },
      { timeoutMs: 2 * SHORT_MS },
    );
    const headRefused = refusal(head, DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN");
    await until("the first is in the log", () => leader.replica["waiters"].size === 1);
    const behind = follower.addMember({ name: "n5", peerUrl: "http://127.0.0.1:2" }, { timeoutMs: SHORT_MS });
    await refusal(behind, DEADLINE_EXCEEDED, "NOT_PROPOSED");
    await headRefused;
    gates.liftAll();
    const { member } = await leader.addMember({
      name: "n4",
      peerUrl: "http://127.0.0.1:1",
      requestId: "head",
    });
    const { members } = await leader.getMembers();
    expect(members.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3", "n4"]);
    expect(members.find(({ name }) => name === "n4")?.id).toBe(member?.id);
  });

  test("TOO_MANY_REQUESTS with a retry delay, at the leader and through a follower", async () => {
    await holdCommits();
    const waiting = [41, 42, 43].map((port) => leader.updateAdminUrl(admin(port), { timeoutMs: 20_000 }));
    await until("three wait", () => leader.replica.writesWaiting === 3);
    const error = await refusal(leader.updateAdminUrl(admin(44)), RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS");
    expect(error.retryDelayMs).toBe(1000);
    const atFollower = await refusal(
      follower.updateAdminUrl(admin(44)),
      RESOURCE_EXHAUSTED,
      "TOO_MANY_REQUESTS",
    );
    expect(atFollower).toEqual(error);
    gates.liftAll();
    await Promise.all(waiting);
    await leader.updateAdminUrl(admin(45));
  });

  test("NOT_PROPOSED for a read that is confirmed and not applied in time", async () => {
    gates.of(leader.name).shut();
    const write = leader.updateAdminUrl(admin(51), { timeoutMs: 20_000 });
    await until("committed by the others", () => leader.replica.committed > leader.replica.applied);
    await refusal(leader.getMembers(1, { timeoutMs: SHORT_MS }), DEADLINE_EXCEEDED, "NOT_PROPOSED");
    // Other members answer reads.
    expect((await follower.getMembers(1)).members.find((m) => m.name === "n1")?.adminUrls).toEqual([
      "http://127.0.0.1:51",
    ]);
    gates.liftAll();
    await write;
  });

  test("a stopping leader: OUTCOME_UNKNOWN for what is in the log, SERVER_STOPPING for what is not", async () => {
    await holdCommits();
    const inLog = leader.addMember({ name: "n4", peerUrl: "http://127.0.0.1:1" }, { timeoutMs: 20_000 });
    const inLogRefused = refusal(inLog, DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN");
    await until("in the log", () => leader.replica["waiters"].size === 1);
    const queued = refusal(
      leader.addMember({ name: "n5", peerUrl: "http://127.0.0.1:2" }, { timeoutMs: 20_000, metadata: NEVER }),
      UNAVAILABLE,
      "SERVER_STOPPING",
    );
    const started = leader.replica.ticks;
    await until("a tick", () => leader.replica.ticks > started + 2);
    const stopped = leader.running.stop();
    const late = refusal(
      leader.updateAdminUrl(admin(61), { metadata: NEVER, timeoutMs: 20_000 }),
      UNAVAILABLE,
      "SERVER_STOPPING",
    );
    await Promise.all([inLogRefused, queued, late]);
    await stopped;
    await leader.stop();
  });

  test("a stopping follower: OUTCOME_UNKNOWN for what it forwarded", async () => {
    await holdCommits();
    const call = refusal(
      follower.updateAdminUrl(admin(71), { timeoutMs: 20_000 }),
      DEADLINE_EXCEEDED,
      "OUTCOME_UNKNOWN",
    );
    await until("it reached the leader", () => leader.replica.writesWaiting === 1);
    const stopped = follower.stop();
    gates.of(follower.name).lift();
    await Promise.all([call, stopped]);
  });
});

describe("without a quorum", () => {
  const gates = new Map<string, TickGate>();
  function gateOf(name: string): TickGate {
    const gate = gates.get(name) ?? new TickGate(HEARTBEAT_MS);
    gates.set(name, gate);
    return gate;
  }

  beforeAll(async () => {
    cluster = await TestCluster.start(3, {
      deps: { limits: { ...DEFAULT_CLUSTER_LIMITS, readsWaitingMax: 2 } },
      depsOf: (name) => ({ clock: gateOf(name).clock }),
      config: { electionMs: 1000 },
    });
  });
  afterAll(() => cluster.stop());

  test("NO_QUORUM while a leader is known, then NO_LEADER; serializable reads go on", async () => {
    const leader = await cluster.leader();
    const followers = await cluster.followers();
    await Promise.all(followers.map((member) => member.stop()));
    // Without this the leader would soon step down and report NO_LEADER.
    gateOf(leader.name).shut();
    const { replica } = leader;
    expect(replica.isLeader).toBe(true);
    const soon = { timeoutMs: SHORT_MS };
    const reads = [leader.getMembers(1, soon), leader.getCluster(1, soon)];
    const noQuorum = reads.map((read) => refusal(read, UNAVAILABLE, "NO_QUORUM"));
    await until("two reads wait", () => replica.readsWaiting === 2);
    const tooMany = await refusal(leader.getMembers(1), RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS");
    expect(tooMany.retryDelayMs).toBeGreaterThan(0);
    const [first] = await Promise.all(noQuorum);
    expect(first?.details).toContain("serializable");

    gateOf(leader.name).lift();
    await until("it steps down", () => !replica.isLeader);
    const calls = [
      leader.getMembers(0, soon),
      leader.getCluster(1, soon),
      leader.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:1"] }, soon),
      leader.addMember({ name: "n4", peerUrl: "http://127.0.0.1:1" }, soon),
    ];
    await Promise.all(calls.map((call) => refusal(call, UNAVAILABLE, "NO_LEADER")));
    const never = leader.deleteMember({ name: "n2" }, { metadata: NEVER });
    expect((await refusal(never, FAILED_PRECONDITION, "NOT_LEADER")).metadata).toEqual({});
    expect((await leader.getMembers(2)).members).toHaveLength(3);
    const local = await leader.getCluster(2);
    expect(local.header?.leaderId).toBe("");
    expect(local.members.some((member) => member.isLeader)).toBe(false);
  });

  test("a write that waits for a leader goes through when there is one", async () => {
    const [alone] = cluster.running;
    if (alone === undefined) throw new Error("nobody runs");
    const admin = { name: "n1", adminUrls: ["http://127.0.0.1:2"] };
    const write = alone.updateAdminUrl(admin, { timeoutMs: 20_000 });
    await cluster.members.find((member) => member.server === null)?.start();
    expect((await write).member?.adminUrls).toEqual(["http://127.0.0.1:2"]);
  });
});
