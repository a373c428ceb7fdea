/**
 * A cluster of the version before, upgraded member by member to this one and back under load, by real processes of both
 * versions: no acknowledged write is lost, no call of a client that knows all members fails, and what is new waits for the
 * last member. After something new was used, a member of the old version stops and says why.
 */
import { cpSync } from "node:fs";
import { credentials, status } from "@grpc/grpc-js";
import { Consistency, MemberRole, MemberTarget, MusterClient, MusterError } from "../../src/client";
import type { GetMembersResponse, Member } from "../../src/client";
import { VERSION } from "../../src/base/version";
import { MembershipServiceClient } from "../../src/generated/muster/v1/membership_service";
import { readLogOffline } from "../../src/storage/offline";
import { Load } from "../e2e/support/load";
import { checkLogs } from "../e2e/support/log_check";
import { ProcessCluster } from "../e2e/support/process_cluster";
import type { MemberProcess } from "../e2e/support/process_cluster";
import { ensureBuilt, killLeftovers, MAIN, muster, until } from "../e2e/support/processes";
import { callUnary, refusal, TestCluster } from "../integration/support/cluster";
import type { Unary } from "../integration/support/cluster";
import { Callers } from "./support/callers";
import { changeVersion, oldVersion } from "./support/old_version";

jest.setTimeout(240_000);

const NEW = MAIN;
let old = "";
let oldNumber = "";
let cluster: ProcessCluster;
const clients: { close(): void }[] = [];
/** What a failed test leaves running. */
const running: { stop(): Promise<void> }[] = [];

beforeAll(() => {
  ensureBuilt();
  ({ main: old, version: oldNumber } = oldVersion());
}, 300_000);
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop()));
  for (const client of clients.splice(0)) client.close();
  await cluster.destroy();
});
afterAll(killLeftovers);

/** Prints what the members said when a test fails. */
async function withOutput(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    cluster.printOutput();
    throw error;
  }
}

/** A client of all members, patient enough for an election on a busy machine. */
function patientClient(): MusterClient {
  const endpoints = cluster.endpoints.split(",");
  const client = new MusterClient({ endpoints, followRoster: false, timeoutMs: 30_000 });
  clients.push(client);
  return client;
}

/** Waits until the leader sees every running member in contact, voting, close behind and published as what it runs. */
async function well(): Promise<void> {
  let seen = "";
  const isWell = async (): Promise<boolean> => {
    const answer = await cluster.running[0]?.cluster(Consistency.LINEARIZABLE);
    const rows = answer?.members ?? [];
    seen = JSON.stringify(
      rows.map((m) => [m.member?.name, m.member?.role, m.version, m.reachable, `${m.lagEntries}`]),
    );
    return cluster.running.every(({ name, main }) =>
      rows.some(
        ({ member, reachable, lagEntries, version }) =>
          member?.name === name &&
          member.role === MemberRole.VOTER &&
          reachable === true &&
          (lagEntries ?? Infinity) < 1000 &&
          version === (main === old ? oldNumber : VERSION),
      ),
    );
  };
  await until("all members are well", isWell, () => seen);
}

/** Refusals after which the same call succeeds a little later, on a machine whose ticks are late. */
const PASSING = new Set(["UNHEALTHY_CLUSTER", "TRANSFER_FAILED"]);

async function done<T>(what: string, call: () => Promise<T>): Promise<T> {
  const results: T[] = [];
  let last = "";
  const isDone = async (): Promise<boolean> => {
    try {
      results.push(await call());
      return true;
    } catch (error) {
      if (!(error instanceof MusterError) || !PASSING.has(error.reason ?? "")) throw error;
      last = error.message;
      return false;
    }
  };
  await until(what, isDone, () => last);
  const [result] = results;
  if (result === undefined) throw new Error(`${what}: no result`);
  return result;
}

async function lead(member: MemberProcess, client: MusterClient): Promise<void> {
  const { leader } = await done(`${member.name} leads`, () =>
    client.transferLeadership({ name: member.name }),
  );
  expect(leader?.name).toBe(member.name);
}

// --- What is new ---------------------------------------------------------------------------------------------------

const WRITE = { requestId: "", expectedRevision: 0n, validateOnly: false, note: "" };
const NOBODY = "http://127.0.0.1:9";

/** One use of each feature, at this member. */
function usesOfNew(stub: MembershipServiceClient): Record<string, () => Promise<unknown>> {
  const use =
    <Req>(method: Unary<Req, unknown>, request: Req) =>
    () =>
      callUnary(method.bind(stub), request);
  const reader = { name: "reader", peerUrl: NOBODY, adminUrl: "", target: MemberTarget.LEARNER };
  const change = { promote: [{ name: "n1", id: "" }], demote: [], remove: [] };
  const replace = { name: "n1", id: "", newName: "n9", peerUrl: NOBODY, adminUrl: "" };
  const settings = { autoPromote: false, standbyTakeoverAfter: undefined, removeUnstartedAfter: undefined };
  return {
    target: use(stub.addMember, { ...WRITE, ...reader }),
    promote: use(stub.promoteMember, { ...WRITE, name: "n1", id: "" }),
    change: use(stub.changeMembers, { ...WRITE, ...change }),
    replace: use(stub.replaceMember, { ...WRITE, ...replace }),
    settings: use(stub.updateClusterSettings, { ...WRITE, ...settings }),
  };
}

/** At a new member, whoever leads, everything new is refused, with the names of the members that do not know it. */
async function newIsRefused(at: MemberProcess): Promise<void> {
  const older = cluster.running.filter(({ main }) => main === old).map(({ name }) => name);
  const stub = new MembershipServiceClient(at.endpoint, credentials.createInsecure());
  clients.push(stub);
  for (const [feature, use] of Object.entries(usesOfNew(stub))) {
    const { metadata } = await refusal(use(), status.FAILED_PRECONDITION, "FEATURE_NOT_READY");
    expect({ feature, names: metadata["names"]?.split(",").sort() }).toEqual({ feature, names: older });
    expect(metadata).toMatchObject({
      needed_version: VERSION,
      versions: older.map(() => oldNumber).join(","),
    });
  }
  const answer = await at.cluster();
  expect([answer?.clusterVersion, answer?.features]).toEqual([oldNumber, []]);
}

async function newIsReady(): Promise<void> {
  for (const member of cluster.running) {
    await until(`${member.name} knows that all know`, async () => {
      const answer = await member.cluster();
      return answer?.clusterVersion === VERSION && answer.features.length === 5;
    });
    const reader = { name: "reader", peerUrl: NOBODY, target: MemberTarget.LEARNER, validateOnly: true };
    expect((await member.client.addMember(reader)).member).toMatchObject({ target: MemberTarget.LEARNER });
  }
}

// --- Up and down under load ----------------------------------------------------------------------------------------

/** A member that never runs comes and goes, whoever leads. */
async function addAndRemove(client: MusterClient, name: string): Promise<void> {
  await done(`${name} is added`, () => client.addMember({ name, peerUrl: NOBODY }));
  await done(`${name} is removed`, () => client.deleteMember({ name }));
}

/** While an old member follows, a learner joins under a new leader, is made a voter by it, and is removed. */
async function joinAndLeave(client: MusterClient, follower: MemberProcess): Promise<void> {
  const joiner = await cluster.joiner("n4");
  await done("n4 is added", () => client.addMember({ name: "n4", peerUrl: joiner.spec.peerUrl }));
  joiner.start();
  await well();
  await until("the old member has n4 as a voter", async () => {
    const { members } = await follower.members();
    return members.some(({ name, role, started }) => name === "n4" && role === MemberRole.VOTER && started);
  });
  await done("n4 is removed", () => client.deleteMember({ name: "n4" }));
  expect(await joiner.process.end()).toEqual({ code: 8, signal: null });
}

async function up(client: MusterClient, [n1, n2, n3]: readonly MemberProcess[]): Promise<void> {
  if (n1 === undefined || n2 === undefined || n3 === undefined) throw new Error("three members");
  await addAndRemove(client, "before");
  await changeVersion(n1, NEW);
  await well();
  for (const leader of [n2, n1]) {
    await lead(leader, client);
    await newIsRefused(n1);
    await addAndRemove(client, `under-${leader.name}`);
  }
  await changeVersion(n2, NEW);
  await well();
  await lead(n1, client);
  await newIsRefused(n2);
  await joinAndLeave(client, n3);
  await changeVersion(n3, NEW);
  await well();
  await newIsReady();
}

async function down(client: MusterClient, members: readonly MemberProcess[]): Promise<void> {
  for (const member of members) {
    await changeVersion(member, old);
    await well();
    const left = members.find(({ main }) => main === NEW);
    if (left !== undefined) await newIsRefused(left);
    await lead(member, client);
    await addAndRemove(client, `after-${member.name}`);
  }
}

/** Without what the old version does not say of a member. */
const asBefore = (members: readonly Member[] | null): Member[] | undefined =>
  members?.map((member) => ({ ...member, target: MemberTarget.UNSPECIFIED }));

/** The members' logs, and what they answered last, against what the writers were told. */
async function nothingIsLost(load: Load, members: readonly MemberProcess[]): Promise<string[]> {
  await cluster.settled();
  const live = await Promise.all(members.map((member) => member.members()));
  const applied = await Promise.all(members.map((member) => member.cluster()));
  for (const member of members) expect(await member.stop()).toEqual({ code: 0, signal: null });
  const logs = members.map(({ name, spec }) => ({ name, dataDir: spec.dataDir }));
  const summary = await checkLogs(
    logs,
    load.records,
    Math.max(...applied.map((c) => Number(c?.appliedIndex))),
  );
  const shown = (answer: GetMembersResponse): unknown => asBefore(answer.members);
  for (const answer of live) {
    expect(shown(answer)).toEqual(asBefore(summary.membersAt(Number(answer.header?.revision))));
  }
  console.log(`log to ${summary.lastIndex}, snapshots ${summary.snapshots.join("/")}`);
  return [...summary.problems];
}

test("member by member up, and down again while nothing new was used", async () => {
  cluster = await ProcessCluster.prepare(3);
  const members = [...cluster.members];
  await withOutput(async () => {
    for (const member of members) {
      member.main = old;
      member.start();
    }
    await cluster.ready();
    const endpoints = members.map(({ endpoint }) => endpoint);
    const load = new Load({ endpoints, targets: ["n2", "n3"], seed: 1, writers: 6, churners: 0 });
    const callers = new Callers(cluster, "n1");
    running.push(load, callers);
    load.start();
    callers.start(2);
    const client = patientClient();
    await up(client, members);
    await down(client, members);
    await load.stop();
    await callers.stop();
    const acknowledged = load.count("acknowledged");
    console.log(`${acknowledged} and ${callers.writes} writes, ${callers.reads} reads`);
    expect(await nothingIsLost(load, members)).toEqual([]);
    expect(callers.problems).toEqual([]);
    expect(load.unexpected).toEqual([]);
    for (const count of [acknowledged, callers.writes, callers.reads]) expect(count).toBeGreaterThan(100);
  });
});

test("a snapshot of this version is one of the old version's, while nothing new was used", async () => {
  const snapshots = { everyEntries: 5, everyBytes: 1 << 26, keepEntries: 1 };
  cluster = await ProcessCluster.prepare(1);
  const made = await TestCluster.start(1, { deps: { snapshots } });
  running.push(made);
  const [one] = made.members;
  const [member] = cluster.members;
  if (one === undefined || member === undefined) throw new Error("no member");
  const add = { name: "n2", peerUrl: NOBODY, requestId: "add-n2", note: "waits for its vote" };
  const added = await one.addMember(add);
  await one.addMember({ name: "n3", peerUrl: "http://127.0.0.1:11" });
  await one.deleteMember({ name: "n3" });
  for (let n = 1; n <= 10; n++)
    await one.updateAdminUrl({ name: "n2", adminUrls: [`http://127.0.0.1:${n}`] });
  const { members } = await one.getMembers();
  await one.stop();
  const { report } = await readLogOffline(one.config.dataDir);
  // A start begins with it.
  expect(report.snapshots[0]?.index).toBeGreaterThan(Number(added.header?.revision));
  cpSync(one.config.dataDir, member.spec.dataDir, { recursive: true });

  await withOutput(async () => {
    member.main = old;
    member.start();
    await until("it leads", async () => (await member.cluster(Consistency.LINEARIZABLE)) !== null);
    const now = await member.members(Consistency.LINEARIZABLE);
    const facts = ({ id, name, role, createRevision }: Member) => ({ id, name, role, createRevision });
    expect(now.members.map(facts)).toEqual(members.map(facts));
    expect((await member.client.addMember(add)).header?.revision).toBe(added.header?.revision);
    await expect(member.client.deleteMember({ name: "n3" })).rejects.toMatchObject({
      reason: "MEMBER_REMOVED",
    });
  });
});

/** Starts a member of the old version, which must end by itself. @returns what it said */
async function oldMemberEnds(member: MemberProcess): Promise<string> {
  member.main = old;
  member.start();
  expect(await member.process.end()).toEqual({ code: 1, signal: null });
  return member.process.stderr;
}

/** A member of a cluster that is restored from the state of this one. */
async function restored(file: string, into: ProcessCluster): Promise<MemberProcess> {
  expect((await muster(["snapshot", "save", file, "--endpoints", cluster.endpoints])).code).toBe(0);
  const [member] = into.members;
  if (member === undefined) throw new Error("no member");
  const { name, peerUrl, dataDir, initialCluster } = member.spec;
  const words = ["--name", name, "--peer-url", peerUrl, "--data-dir", dataDir];
  words.push("--initial-cluster", initialCluster, "--initial-cluster-token", "again");
  const { code, stderr } = await muster(["snapshot", "restore", file, ...words]);
  expect([code, stderr]).toEqual([0, ""]);
  return member;
}

test("after something new was used, an old member stops and says why; the others go on", async () => {
  cluster = await ProcessCluster.start(3);
  await withOutput(async () => {
    const client = patientClient();
    await client.addMember({ name: "reader", peerUrl: NOBODY, target: MemberTarget.LEARNER });
    await cluster.settled();
    const n3 = cluster.member("n3");
    await n3.stop();
    const why =
      /roster command kind 1 version 2 is not known here .*start this member with the version that its cluster runs/;
    expect(await oldMemberEnds(n3)).toMatch(why);
    await client.updateAdminUrl({ name: "n1", adminUrls: ["http://10.0.0.1:1"] });
    n3.main = NEW;
    n3.start();
    // The leader may not have missed it yet.
    await cluster.ready();
    await well();

    // The log may not have the use any more, and the snapshot its effect.
    const stub = new MembershipServiceClient(n3.endpoint, credentials.createInsecure());
    clients.push(stub);
    await usesOfNew(stub)["settings"]?.();
    const other = await ProcessCluster.prepare(1);
    try {
      const said = await oldMemberEnds(await restored(cluster.path("saved"), other));
      expect(said).toMatch(/roster snapshot version 2 is not known here/);
    } finally {
      await other.destroy();
    }
  });
});
