/** Writes over the wire: answers, repeated requests, revisions, and concurrent writes. */
import { Metadata, status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { RosterSnapshot } from "../../src/generated/muster/storage/v1/snapshot";
import { TestCluster, readError, refusal, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import { SyncGates } from "./support/sync_gate";

jest.setTimeout(60_000);

const gates = new SyncGates();
let cluster: TestCluster;
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
afterEach(async () => {
  gates.liftAll();
  await cluster.agreed();
});

const asNumbers = (ids: readonly string[]): readonly string[] =>
  [...ids].sort((a, b) => (BigInt(`0x${a}`) < BigInt(`0x${b}`) ? -1 : 1));
const idsOf = (members: readonly { readonly id: string }[]): string[] => members.map(({ id }) => id);
const admin = (name: string, port: number) => ({ name, adminUrls: [`http://127.0.0.1:${String(port)}`] });
const revisionNow = async (): Promise<bigint> => (await leader.getMembers()).header?.revision ?? 0n;

describe("answers", () => {
  test("AddMember and DeleteMember: the member, all members by id, and the entry's index as revision", async () => {
    const before = await revisionNow();
    const added = await follower.addMember({
      name: "n4",
      peerUrl: "HTTP://LocalHost:7001",
      adminUrl: "http://[::0001]:7002",
    });
    const { member, header } = added;
    expect(member?.id).toMatch(/^[1-9a-f][0-9a-f]{0,15}$/);
    expect(member).toMatchObject({
      name: "n4",
      peerUrls: ["http://localhost:7001"],
      adminUrls: ["http://[::1]:7002"],
      started: false,
    });
    expect(header?.revision).toBeGreaterThan(before);
    expect(member?.createRevision).toBe(header?.revision);
    expect(member?.updateRevision).toBe(header?.revision);
    expect(header?.revision).toBe(await revisionNow());
    expect(idsOf(added.members)).toEqual(asNumbers(idsOf(added.members)));
    expect(added.members.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3", "n4"]);

    const removed = await other.deleteMember({
      id: member?.id.toUpperCase() ?? "",
      peerUrl: "http://LOCALHOST:7001",
    });
    expect(removed.member).toEqual(member);
    expect(removed.header?.revision).toBeGreaterThan(header?.revision ?? 0n);
    expect(removed.members.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3"]);
    expect(removed.header?.revision).toBe(await revisionNow());
  });

  test("UpdateMember and UpdateAdminURL: the member after the change; create_revision stays", async () => {
    const before = (await leader.getMembers()).members.find(({ name }) => name === "n2");
    const updated = await follower.updateAdminUrl({
      name: "n2",
      id: before?.id ?? "",
      adminUrls: ["http://127.0.0.1:1", "http://127.0.0.1:2"],
    });
    expect(updated.member).toEqual({
      ...before,
      adminUrls: ["http://127.0.0.1:1", "http://127.0.0.1:2"],
      updateRevision: updated.header?.revision,
    });
    const added = await leader.addMember({ name: "n4", peerUrl: "http://127.0.0.1:11" });
    const moved = await follower.updateMember({ name: "n4", newPeerUrl: "http://127.0.0.1:12" });
    expect(moved.member).toMatchObject({
      peerUrls: ["http://127.0.0.1:12"],
      createRevision: added.header?.revision,
      updateRevision: moved.header?.revision,
    });
    expect(moved.members).toHaveLength(4);
    await leader.deleteMember({ name: "n4" });
  });

  test("the header has cluster, leader and term, and names the leader as the member that answered", async () => {
    const { replica } = leader;
    const { header } = await follower.updateAdminUrl(admin("n2", 21));
    expect(header).toMatchObject({
      clusterId: replica.clusterId.toString(16),
      memberId: leader.id,
      leaderId: leader.id,
      raftTerm: BigInt(replica.term),
    });
  });
});

describe("request_id", () => {
  test("a repeat at any member gives the first outcome, with the current members", async () => {
    const request = { name: "n4", peerUrl: "http://127.0.0.1:31", requestId: "add-once" };
    const first = await follower.addMember(request);
    const moved = await leader.updateMember({ name: "n4", newPeerUrl: "http://127.0.0.1:32" });
    for (const member of [leader, follower, other]) {
      const again = await member.addMember(request);
      expect(again.member).toEqual(first.member);
      expect(again.header?.revision).toBe(first.header?.revision);
      expect(again.members).toEqual(moved.members);
    }
    expect(await revisionNow()).toBe(moved.header?.revision);
    const remove = { name: "n4", requestId: "remove-once" };
    const removed = await leader.deleteMember(remove);
    const again = await follower.deleteMember(remove);
    expect(again).toMatchObject({ member: removed.member, members: removed.members });
    expect(again.header?.revision).toBe(removed.header?.revision);
  });

  test("a repeat in another spelling is the same request", async () => {
    const requestId = "spelling";
    const first = await leader.updateAdminUrl({ name: "n2", adminUrls: ["http://localhost:41"], requestId });
    const again = await follower.updateAdminUrl({
      name: "n2",
      adminUrls: ["HTTP://LOCALHOST:41"],
      requestId,
    });
    expect(again.header?.revision).toBe(first.header?.revision);
  });

  test("a repeat after the leader changed gives the first outcome", async () => {
    const request = { ...admin("n3", 51), requestId: "across-leaders" };
    const first = await follower.updateAdminUrl(request);
    await leader.updateAdminUrl(admin("n3", 52));
    leader.replica.transferLeader(follower.replica.id);
    await until("the follower leads", () => follower.replica.isLeader);
    await cluster.leader();
    for (const member of [leader, follower, other]) {
      const again = await member.updateAdminUrl(request);
      expect(again.member?.adminUrls).toEqual(["http://127.0.0.1:51"]);
      expect(again.header?.revision).toBe(first.header?.revision);
    }
    const { members } = await leader.getMembers();
    expect(members.find(({ name }) => name === "n3")?.adminUrls).toEqual(["http://127.0.0.1:52"]);
  });

  test("a refusal before proposing is not remembered", async () => {
    const request = { name: "n4", peerUrl: "http://127.0.0.1:61", requestId: "try-again" };
    await leader.addMember({ name: "n4", peerUrl: "http://127.0.0.1:62" });
    await refusal(leader.addMember(request), status.ALREADY_EXISTS, "MEMBER_NAME_EXISTS");
    await leader.deleteMember({ name: "n4" });
    const { member } = await follower.addMember(request);
    expect(member?.peerUrls).toEqual(["http://127.0.0.1:61"]);
    await leader.deleteMember({ name: "n4" });
  });

  test("a write without one gets one from the first member that takes it", async () => {
    await follower.updateAdminUrl(admin("n2", 71));
    const { outcomes } = RosterSnapshot.decode(leader.roster.snapshot());
    const newest = outcomes.at(-1);
    expect(newest?.member?.adminUrls).toEqual(["http://127.0.0.1:71"]);
    expect(newest?.requestId).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("revision", () => {
  test("refused and repeated writes, and writes without a change, do not change it", async () => {
    await leader.updateAdminUrl({ ...admin("n2", 81), requestId: "rev" });
    const before = await revisionNow();
    const repeated = await follower.updateAdminUrl({ ...admin("n2", 81), requestId: "rev" });
    expect(repeated.header?.revision).toBe(before);
    const same = await follower.updateAdminUrl(admin("n2", 81));
    expect(same.header?.revision).toBe(before);
    const peerUrl = leader.config.peerUrl;
    const unmoved = await follower.updateMember({ name: leader.name, newPeerUrl: peerUrl });
    expect(unmoved.header?.revision).toBe(before);
    expect(unmoved.member?.peerUrls).toEqual([peerUrl]);
    await refusal(follower.deleteMember({ name: "nobody" }), status.NOT_FOUND, "MEMBER_NOT_FOUND");
    expect(await revisionNow()).toBe(before);
  });

  test("expected_revision: the current one is accepted; of many concurrent writes exactly one succeeds", async () => {
    const expectedRevision = await revisionNow();
    const results = await Promise.allSettled(
      [leader, follower, other, leader, follower, other].map((member, i) =>
        member.updateAdminUrl({ ...admin("n2", 91 + i), expectedRevision }),
      ),
    );
    expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(1);
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      await refusal(Promise.reject(result.reason as Error), status.ABORTED, "REVISION_MISMATCH");
    }
    const next = await revisionNow();
    const { header } = await follower.updateAdminUrl({ ...admin("n2", 99), expectedRevision: next });
    expect(header?.revision).toBeGreaterThan(next);
  });
});

describe("validate_only", () => {
  test("answers as the write would, changes nothing and remembers nothing", async () => {
    const before = await leader.getMembers();
    const requestId = "validated";
    for (const member of [leader, follower]) {
      const add = await member.addMember({
        name: "n4",
        peerUrl: "http://127.0.0.1:1",
        requestId,
        validateOnly: true,
      });
      expect(add.member).toMatchObject({ id: "", name: "n4", peerUrls: ["http://127.0.0.1:1"] });
      expect(add.members).toEqual(before.members);
      expect(add.header?.revision).toBe(before.header?.revision);
      // A URL at which n2 answers as well: any other is refused.
      const newPeerUrl = cluster.member("n2").config.peerUrl.replace("127.0.0.1", "localhost");
      const update = await member.updateMember({ name: "n2", newPeerUrl, requestId, validateOnly: true });
      expect(update.member?.peerUrls).toEqual([newPeerUrl]);
      const urls = await member.updateAdminUrl({ ...admin("n2", 3), requestId, validateOnly: true });
      expect(urls.member?.adminUrls).toEqual(["http://127.0.0.1:3"]);
      const remove = await member.deleteMember({ name: "n2", requestId, validateOnly: true });
      expect(remove.member?.name).toBe("n2");
      expect(remove.members).toEqual(before.members);
      await refusal(
        member.addMember({ name: "n1", peerUrl: "http://127.0.0.1:1", validateOnly: true }),
        status.ALREADY_EXISTS,
        "MEMBER_NAME_EXISTS",
      );
    }
    const after = await leader.getMembers();
    expect(after.members).toEqual(before.members);
    expect(after.header?.revision).toBe(before.header?.revision);
    await leader.updateAdminUrl({ ...admin("n2", 4), requestId });
  });

  test("removing the leader is validated without a leadership transfer", async () => {
    const { replica } = leader;
    const { term } = replica;
    const { member } = await follower.deleteMember({ id: leader.id, validateOnly: true });
    expect(member?.name).toBe(leader.name);
    expect(replica.isLeader).toBe(true);
    expect(replica.term).toBe(term);
  });
});

describe("many at once", () => {
  test("two parallel adds at two members both succeed, one after the other", async () => {
    const [a, b] = await Promise.all([
      follower.addMember({ name: "n4", peerUrl: "http://127.0.0.1:1" }),
      other.addMember({ name: "n5", peerUrl: "http://127.0.0.1:2" }),
    ]);
    expect(a.header?.revision).not.toBe(b.header?.revision);
    const { members } = await leader.getMembers();
    expect(members.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3", "n4", "n5"]);
    await Promise.all([leader.deleteMember({ name: "n4" }), follower.deleteMember({ name: "n5" })]);
    expect((await leader.getMembers()).members).toHaveLength(3);
  });

  test("many parallel adds and deletes: each gets an answer, and the roster has the effect of all", async () => {
    const started = [leader, follower, other];
    const at = (i: number): TestMember => started[i % 3] ?? leader;
    const calls = Array.from({ length: 60 }, (_, i) => {
      const name = `p${String(i % 6)}`;
      const port = String(1000 + i);
      return i % 2 === 0
        ? at(i).addMember({ name, peerUrl: `http://127.0.0.1:${port}` }, { timeoutMs: 30_000 })
        : at(i).deleteMember({ name: `p${String((i * 7) % 6)}` }, { timeoutMs: 30_000 });
    });
    const results = await Promise.allSettled(calls);
    const changes = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    expect(changes.length).toBeGreaterThan(0);
    const refusedReasons = new Set<string>();
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      refusedReasons.add(readError(result.reason as ServiceError).reason);
    }
    // Learners come and go without a check.
    const allowed = ["MEMBER_NAME_EXISTS", "MEMBER_NOT_FOUND", "MEMBER_REMOVED"];
    expect([...refusedReasons].filter((reason) => !allowed.includes(reason))).toEqual([]);
    // Every acknowledged change has a unique revision, and replaying the changes in that order gives the roster.
    const revisions = changes.map(({ header }) => header?.revision ?? 0n);
    expect(new Set(revisions).size).toBe(revisions.length);
    const names = new Set(["n1", "n2", "n3"]);
    for (const { member, header } of changes.sort((a, b) =>
      Number((a.header?.revision ?? 0n) - (b.header?.revision ?? 0n)),
    )) {
      const isAdd = member?.createRevision === header?.revision;
      if (isAdd) names.add(member?.name ?? "");
      else names.delete(member?.name ?? "");
    }
    const { members } = await leader.getMembers();
    expect(members.map(({ name }) => name).sort()).toEqual([...names].sort());
    for (const { name, started: isStarted } of members) if (!isStarted) await leader.deleteMember({ name });
  });

  test("admin URLs changed at all members at once: every acknowledged change has a unique revision", async () => {
    const members = [leader, follower, other];
    const results = await Promise.all(
      Array.from({ length: 300 }, (_, i) => {
        const member = members[i % 3] ?? leader;
        return member.updateAdminUrl(admin(`n${String((i % 3) + 1)}`, 2000 + i));
      }),
    );
    expect(new Set(results.map(({ header }) => header?.revision)).size).toBe(300);
  });

  test("a cancelled caller's write, forwarded already, goes on", async () => {
    for (const member of [follower, other]) gates.of(member.name).shut();
    const port = 4001;
    await new Promise<void>((resolve, reject) => {
      const request = {
        id: "",
        requestId: "",
        expectedRevision: 0n,
        validateOnly: false,
        note: "",
        ...admin("n1", port),
      };
      const call = follower.client.updateAdminUrl(request, new Metadata(), (error) => {
        if (error?.code === status.CANCELLED) resolve();
        else reject(new Error("it was to be cancelled"));
      });
      until("it is in the leader's log", () => leader.replica["waiters"].size === 1).then(() => {
        call.cancel();
      }, reject);
    });
    gates.liftAll();
    await until("it is applied", () => {
      const found = leader.roster.memberByName("n1");
      return found?.adminUrls.includes(`http://127.0.0.1:${String(port)}`) === true;
    });
  });
});
