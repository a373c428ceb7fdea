/** MaintenanceService.SaveSnapshot over the wire: the contents of the file, the conditions, and calls that end early. */
import { credentials, status } from "@grpc/grpc-js";
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { MusterClient } from "../../src/client";
import type { SnapshotSink } from "../../src/client";
import { MaintenanceServiceClient } from "../../src/generated/muster/v1/maintenance_service";
import type { SaveSnapshotResponse } from "../../src/generated/muster/v1/maintenance_service";
import { decodeSavedSnapshot } from "../../src/backup/saved_snapshot";
import type { ReadSnapshot } from "../../src/backup/saved_snapshot";
import { readError, TestCluster, until } from "./support/cluster";
import type { TestMember, WireError } from "./support/cluster";
import { SyncGates } from "./support/sync_gate";

jest.setTimeout(60_000);

const gates = new SyncGates();
let cluster: TestCluster;
const clients: { close(): void }[] = [];
const spies: jest.SpyInstance[] = [];

beforeAll(async () => {
  cluster = await TestCluster.start(3, { depsOf: gates.depsOf });
});
afterAll(() => cluster.stop());
afterEach(async () => {
  gates.liftAll();
  for (const spy of spies.splice(0)) spy.mockRestore();
  for (const client of clients.splice(0)) client.close();
  await Promise.all(cluster.members.filter(({ server }) => server === null).map((member) => member.start()));
  await cluster.settled();
});

/** Collects the stream in memory. */
class MemorySink implements SnapshotSink {
  bytes = Buffer.alloc(0);
  begun = 0;
  begin(): void {
    this.begun++;
    this.bytes = Buffer.alloc(0);
  }
  write(chunk: Uint8Array): void {
    this.bytes = Buffer.concat([this.bytes, chunk]);
  }
}

const hostOf = (member: TestMember): string => new URL(member.config.adminUrl).host;

async function save(...members: TestMember[]): Promise<ReadSnapshot> {
  const client = new MusterClient({ endpoints: members.map(hostOf) });
  clients.push(client);
  const sink = new MemorySink();
  const { header, sha256 } = await client.saveSnapshot(sink);
  const read = decodeSavedSnapshot("saved", sink.bytes);
  expect(Buffer.from(sha256).toString("hex")).toBe(read.sha256);
  expect(header).toMatchObject({
    index: BigInt(read.snapshot.meta.index),
    term: BigInt(read.snapshot.meta.term),
    sizeBytes: BigInt(sink.bytes.length),
    memberCount: read.roster.members().length,
  });
  expect(header.header?.revision).toBe(BigInt(read.roster.revision));
  return read;
}

/** A call by the generated stub, so that a test decides when to read. */
function raw(member: TestMember, timeoutMs = 20_000): ClientReadableStream<SaveSnapshotResponse> {
  const client = new MaintenanceServiceClient(hostOf(member), credentials.createInsecure());
  clients.push(client);
  return client.saveSnapshot({ serializable: false }, { deadline: Date.now() + timeoutMs });
}

function failureOf(call: ClientReadableStream<SaveSnapshotResponse>): Promise<WireError> {
  return new Promise((resolve, reject) => {
    call.on("error", (error: ServiceError) => {
      resolve(readError(error));
    });
    call.on("end", () => {
      reject(new Error("the call succeeded, but was to be refused"));
    });
    call.resume();
  });
}

test("any member gives the state with every acknowledged change in it", async () => {
  const leader = await cluster.leader();
  for (const [i, member] of cluster.members.entries()) {
    const { header } = await leader.updateAdminUrl({
      name: "n1",
      adminUrls: [`http://127.0.0.1:${String(i + 1)}`],
    });
    const read = await save(member);
    expect(read.roster.revision).toBe(Number(header?.revision));
    expect(read.roster.memberByName("n1")?.adminUrls).toEqual([`http://127.0.0.1:${String(i + 1)}`]);
    expect(read.memberId.toString(16)).toBe(member.id);
    expect(read.snapshot.meta.confState.voters).toEqual(read.roster.voters());
    expect(Buffer.from(read.snapshot.data).equals(member.roster.snapshot())).toBe(true);
  }
});

/** Counts the linearizable reads on the member from now on. Every waiting call has requested one. */
function readsAt(member: TestMember): jest.SpyInstance {
  const spy = jest.spyOn(member.replica, "readIndex");
  spies.push(spy);
  return spy;
}

test("a member that is behind waits until it has applied what was acknowledged before the call", async () => {
  const leader = await cluster.leader();
  const [behind] = await cluster.followers();
  if (behind === undefined) throw new Error("no follower");
  gates.of(behind.name).shut();
  const { header } = await leader.updateAdminUrl({ name: "n2", adminUrls: ["http://127.0.0.1:77"] });
  const reads = readsAt(behind);
  const saving = save(behind);
  await until("the read waits", () => reads.mock.calls.length === 1);
  expect(behind.replica.applied).toBeLessThan(Number(header?.revision));
  gates.of(behind.name).lift();
  expect((await saving).roster.revision).toBe(Number(header?.revision));
});

test("without a quorum there is no snapshot", async () => {
  const leader = await cluster.leader();
  const followers = await cluster.followers();
  await Promise.all(followers.map((member) => member.stop()));
  const { code, reason } = await failureOf(raw(leader, 800));
  expect([status[code], ["NO_QUORUM", "NO_LEADER"].includes(reason)]).toEqual(["UNAVAILABLE", true]);
});

test("a third concurrent snapshot is refused with a retry delay; a cancelled one makes room", async () => {
  const leader = await cluster.leader();
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("no follower");
  // A member that can't apply keeps its reads waiting.
  gates.of(follower.name).shut();
  await leader.updateAdminUrl({ name: "n3", adminUrls: ["http://127.0.0.1:78"] });
  const reads = readsAt(follower);
  const waiting = [raw(follower), raw(follower)];
  for (const call of waiting) call.on("error", () => undefined);
  await until("two wait", () => reads.mock.calls.length === 2);
  const refused = await failureOf(raw(follower));
  expect(refused).toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
    reason: "TOO_MANY_REQUESTS",
    retryDelayMs: 1000,
  });
  expect(reads.mock.calls).toHaveLength(2);

  for (const call of waiting) call.cancel();
  // The client repeats the refused call until the member has noticed that the callers have cancelled.
  const saving = save(follower);
  await until("there is room again", () => reads.mock.calls.length === 3);
  gates.liftAll();
  await saving;
});

test("a stopping member ends the call with a reason", async () => {
  const [follower, other] = await cluster.followers();
  if (follower === undefined || other === undefined) throw new Error("no followers");
  const leader = await cluster.leader();
  await Promise.all([leader.stop(), other.stop()]);
  const reads = readsAt(follower);
  const ended = failureOf(raw(follower));
  await until("the read waits", () => reads.mock.calls.length === 1);
  const stopped = follower.stop();
  expect(await ended).toMatchObject({ code: status.UNAVAILABLE, reason: "SERVER_STOPPING" });
  await stopped;
});

test("an error thrown by the sink reaches the caller, and the next call works", async () => {
  const leader = await cluster.leader();
  const client = new MusterClient({ endpoints: [hostOf(leader)] });
  clients.push(client);
  const full = new Error("ENOSPC: here");
  const sink: SnapshotSink = {
    begin: () => undefined,
    write: () => Promise.reject(full),
  };
  await expect(client.saveSnapshot(sink)).rejects.toBe(full);
  const again = new MemorySink();
  await client.saveSnapshot(again);
  expect(again.begun).toBe(1);
  const cancelled = client.saveSnapshot(new MemorySink(), { signal: AbortSignal.abort() });
  await expect(cancelled).rejects.toMatchObject({ name: "MusterError", code: status.CANCELLED });
});
