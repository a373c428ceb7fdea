/**
 * What version 0.2.0 left on disk (test/fixtures/v0.2.0) in members of this version: data directories with and without
 * snapshots, that of a removed member, and a backup.
 */
import { lstatSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { status } from "@grpc/grpc-js";
import { decodeSavedSnapshot } from "../../src/backup/saved_snapshot";
import { restoredCluster } from "../../src/backup/restore";
import { VERSION } from "../../src/base/version";
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import type { Member } from "../../src/generated/muster/v1/member";
import { GetMembersResponse, MemberEventKind } from "../../src/generated/muster/v1/membership_service";
import { Roster } from "../../src/roster/index";
import { TestCluster, refusal, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import { TestWatch } from "./support/watch";

jest.setTimeout(60_000);

const FIXTURE = resolve(__dirname, "../fixtures/v0.2.0");
const saved = GetMembersResponse.fromJSON(JSON.parse(readFileSync(join(FIXTURE, "members.json"), "utf8")));
const revision = saved.header?.revision ?? 0n;
/** What `add-n4` asked for, and the revisions at which it was done and undone. */
const ADD_N4 = {
  name: "n4",
  peerUrl: "http://127.0.0.1:27491",
  requestId: "add-n4",
  note: "a fourth for the weekend",
};
const [ADDED, REMOVED] = [8, 11];
const SERIALIZABLE = 2;

/** As they are read now: a version without targets made only members that are to vote. */
const members: Member[] = saved.members.map((member) => ({ ...member, target: MemberTarget.VOTER }));

function unpack(name: string, to: string): void {
  const from = join(FIXTURE, "data", name);
  for (const entry of readdirSync(from, { recursive: true, encoding: "utf8" })) {
    const file = join(from, entry);
    if (!lstatSync(file).isFile()) continue;
    const target = join(to, relative(from, file).replace(/\.br$/, ""));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, brotliDecompressSync(readFileSync(file)));
  }
}

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await TestCluster.prepare(3);
  for (const { name, config } of cluster.members) unpack(name, config.dataDir);
});
afterEach(() => cluster.stop());

/** Starts all members, at other addresses than those in the directories, and waits until each has published itself anew. */
async function startAll(): Promise<TestMember> {
  await Promise.all(cluster.members.map((member) => member.start()));
  await until("every member is there, at its address, with this version", () =>
    cluster.running.every(({ roster }) =>
      cluster.running.every(({ replica, config }) => {
        const record = roster.member(replica.id);
        return record?.version === VERSION && record.peerUrls[0] === config.peerUrl;
      }),
    ),
  );
  await cluster.settled();
  return cluster.stable();
}

test("a member alone has the roster at its revision", async () => {
  for (const member of cluster.members) {
    await member.start();
    const { header, members: listed } = await member.getMembers(SERIALIZABLE);
    expect([header?.clusterId, header?.revision]).toEqual([saved.header?.clusterId, revision]);
    expect(listed).toEqual(members);
    await member.stop();
  }
});

test("the cluster goes on: roster, history and request memory are those of before, and writes go on", async () => {
  const leader = await startAll();
  const follower = (await cluster.followers())[0] ?? leader;
  const now = await follower.getMembers();
  const facts = ({ id, name, role, target, started, createRevision }: Member) => {
    return { id, name, role, target, started, createRevision };
  };
  expect(now.members.map(facts)).toEqual(members.map(facts));
  expect(now.header?.clusterId).toBe(saved.header?.clusterId);

  // Since then nothing happened but what the members publish.
  const watch = new TestWatch(follower, { startRevision: revision });
  await watch.reached(now.header?.revision ?? 0n);
  expect(new Set(watch.events.map(({ kind, caller }) => `${kind} ${caller}`))).toEqual(
    new Set([`${MemberEventKind.UPDATED} member`]),
  );
  for (const { roster } of cluster.members) {
    const event = roster.eventsSince(0)?.find(({ requestId }) => requestId === "add-n4");
    expect(event).toMatchObject({ revision: ADDED, note: ADD_N4.note, caller: "anonymous" });
  }

  for (const member of cluster.members) {
    const add = await member.addMember(ADD_N4);
    expect(add).toMatchObject({ header: { revision: BigInt(ADDED) }, member: { name: "n4" } });
    const n5 = { name: "n5", newPeerUrl: "http://127.0.0.1:27511", requestId: "update-n5" };
    expect((await member.updateMember(n5)).header?.revision).toBe(revision);
    const again = { name: "n4", peerUrl: "http://127.0.0.1:27501", requestId: "refused-n4" };
    await refusal(member.addMember(again), status.ALREADY_EXISTS, "MEMBER_NAME_EXISTS");
    const other = { name: "n6", peerUrl: ADD_N4.peerUrl, requestId: "add-n5" };
    await refusal(member.addMember(other), status.INVALID_ARGUMENT, "REQUEST_ID_REUSED");
    const gone = await refusal(member.deleteMember({ name: "n4" }), status.NOT_FOUND, "MEMBER_REMOVED");
    expect(gone.metadata).toMatchObject({ id: add.member?.id, revision: String(REMOVED) });
  }
  // The voter that never ran goes; a learner joins, and votes.
  await follower.deleteMember({ name: "n5" });
  const joiner = await cluster.joiner("n4");
  const { member } = await follower.addMember({ name: "n4", peerUrl: joiner.config.peerUrl });
  expect(member).toMatchObject({ role: MemberRole.LEARNER, started: false });
  await joiner.start();
  await cluster.voting();
  await cluster.agreed();
});

test("the directory of a removed member does not start", async () => {
  const removed = await cluster.joiner("n4");
  unpack("n4", removed.config.dataDir);
  await expect(removed.start()).rejects.toThrow(/was removed from (its|the) cluster/);
});

test("a backup restores", () => {
  const read = decodeSavedSnapshot("cluster.backup", readFileSync(join(FIXTURE, "cluster.backup")));
  expect(read.roster.members().map(({ name }) => name)).toEqual(members.map(({ name }) => name));
  expect(BigInt(read.roster.revision)).toBe(revision);
  const only = [{ name: "n1", peerUrl: "http://127.0.0.1:1" }];
  const { snapshot, tombstoneCount } = restoredCluster(read, only, "again");
  expect(tombstoneCount).toBe(members.length + 1);
  const restored = Roster.restore(snapshot.data, { appliedIndex: snapshot.meta.index });
  expect(restored.members()).toMatchObject(only.map(({ name }) => ({ name, learner: false })));
});
