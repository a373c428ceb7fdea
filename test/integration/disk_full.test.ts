/**
 * A full disk and a failing disk, observed over the wire. Full: writes get DISK_FULL, reads and votes go on, the health
 * status shows it, and everything recovers when there is space. Failing: a failed sync ends the process.
 */
import { connectivityState, credentials, status } from "@grpc/grpc-js";
import { HealthCheckResponse_ServingStatus, HealthClient } from "../../src/generated/grpc/health/v1/health";
import { silentLog } from "../../src/base/log";
import type { Log } from "../../src/base/log";
import { readLogOffline } from "../../src/storage/offline";
import { callUnary, failure, refusal, TestCluster, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import { TroubledDisks } from "./support/full_disk";

jest.setTimeout(120_000);

const SERIALIZABLE = 2;
let cluster: TestCluster | null = null;

afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

async function health(member: TestMember): Promise<string> {
  const client = new HealthClient(new URL(member.config.adminUrl).host, credentials.createInsecure());
  try {
    const { status: serving } = await callUnary(client.check.bind(client), { service: "" });
    const names = Object.entries(HealthCheckResponse_ServingStatus);
    return names.find(([, value]) => value === serving)?.[0] ?? String(serving);
  } finally {
    client.close();
  }
}

/** A write of about 8 KB, each different from the one before. */
function large(i: number): { name: string; adminUrls: string[] } {
  const label = "x".repeat(60);
  const host = (n: number): string => `${label}.${label}.${label}.w${String(i)}-${String(n)}`;
  return { name: "n1", adminUrls: Array.from({ length: 32 }, (_, n) => `http://${host(n)}:1`) };
}

let writes = 0;

/** Writes until `condition` holds, one at a time, so that every one of them is acknowledged. */
async function writeUntil(what: string, member: TestMember, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await member.updateAdminUrl(large(writes++));
  if (!condition()) throw new Error(`400 writes did not make it come true: ${what}`);
}

test("a leader without space hands over; with a second one full writes get DISK_FULL at every member, reads go on; all recovers", async () => {
  const disks = new TroubledDisks();
  const lines: string[] = [];
  const log: Log = {
    ...silentLog,
    info: (_fields, text) => void lines.push(text),
    error: (_fields, text) => void lines.push(text),
  };
  cluster = await TestCluster.start(3, { depsOf: disks.depsOf, deps: { log } });
  const first = await cluster.stable();
  expect(await health(first)).toBe("SERVING");

  disks.of(first.name).full = true;
  await writeUntil("the leader has no space", first, () => !first.replica.hasSpace);
  await until("another member leads", () => !first.replica.isLeader && first.replica.leader !== 0n);
  const second = await cluster.leader();
  expect(second).not.toBe(first);
  await until("health says so", async () => (await health(first)) === "NOT_SERVING");
  // Through the full member too: only its own disk takes nothing.
  await first.updateAdminUrl(large(writes++));
  const { members } = await second.getCluster();
  expect(members.filter(({ diskFull }) => diskFull).map(({ member }) => member?.name)).toEqual([first.name]);

  // With a second one full too, no leader could commit anything: this one leads on, and refuses.
  const leader = second;
  const { members: all } = cluster;
  disks.of(leader.name).full = true;
  await writeUntil("the next leader has no space", leader, () => !leader.replica.hasSpace);
  const acknowledged = (await leader.getMembers()).header?.revision;
  for (const member of all) {
    const error = await refusal(
      member.updateAdminUrl(large(writes++)),
      status.RESOURCE_EXHAUSTED,
      "DISK_FULL",
    );
    expect(error.metadata["member_name"]).toBe(leader.name);
    await refusal(member.deleteMember({ name: "n2" }), status.RESOURCE_EXHAUSTED, "DISK_FULL");
    // Both linearizable and serializable reads go on.
    expect((await leader.getMembers()).header?.revision).toBe(acknowledged);
    expect((await member.getCluster()).header?.memberId).toBe(leader.id);
    expect((await member.getMembers(SERIALIZABLE)).members).toHaveLength(3);
  }
  expect(lines.filter((line) => line.startsWith("the disk is full: no changes"))).toHaveLength(2);

  for (const { name } of all) disks.of(name).full = false;
  await until("there is space again", () => all.every(({ replica }) => replica.hasSpace));
  const { header } = await first.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:1"] });
  expect(header?.revision).toBeGreaterThan(acknowledged ?? 0n);
  await until("health says so", async () => (await health(leader)) === "SERVING");
  expect(lines.filter((line) => line === "there is space for the log again")).toHaveLength(2);
  await cluster.agreed();
});

test("a follower without space takes no entries, still votes, and catches up when there is space", async () => {
  const disks = new TroubledDisks();
  cluster = await TestCluster.start(3, { depsOf: disks.depsOf });
  const leader = await cluster.stable();
  const [full, other] = await cluster.followers();
  if (full === undefined || other === undefined) throw new Error("no followers");

  disks.of(full.name).full = true;
  await writeUntil("the follower has no space", leader, () => !full.replica.hasSpace);
  // The two others go on; the full one keeps its entries.
  const before = full.replica.lastIndex;
  for (let i = 0; i < 5; i++) await leader.updateAdminUrl(large(writes++));
  await until("the other follower has everything", () => other.replica.applied === leader.replica.applied);
  expect(full.replica.lastIndex).toBe(before);
  expect(full.replica.applied).toBeLessThan(leader.replica.applied);
  expect((await full.getMembers(SERIALIZABLE)).members).toHaveLength(3);
  await until("health says so", async () => (await health(full)) === "NOT_SERVING");

  // The leader is stopped: the other member needs the full member's vote to be elected.
  const { term } = leader.replica;
  await leader.stop();
  await until("the other leads by the full member's vote", () => other.replica.isLeader);
  expect(other.replica.term).toBeGreaterThan(term);
  expect(full.replica.hasSpace).toBe(false);
  await until("the full member follows", () => full.replica.leader === other.replica.id);
  // Both are needed for a quorum and one accepts no entries, so nothing is acknowledged.
  const unknown = await failure(other.updateAdminUrl(large(writes++), { timeoutMs: 700 }));
  expect(unknown.code).toBe(status.DEADLINE_EXCEEDED);
  // On a busy machine the client's own deadline may be first, which has no reason.
  expect(["OUTCOME_UNKNOWN", ""]).toContain(unknown.reason);

  disks.of(full.name).full = false;
  await until("there is space again", () => full.replica.hasSpace);
  await other.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:1"] });
  await cluster.agreed();
  expect(full.replica.applied).toBe(other.replica.applied);
});

test("a follower without space takes no snapshot, and gets one when there is space", async () => {
  const disks = new TroubledDisks();
  const notes: string[] = [];
  const note = (fields: object, text: string): void =>
    void notes.push(`${text} ${JSON.stringify(Object.values(fields).map(String))}`);
  const log: Log = { ...silentLog, info: note, warn: note };
  const snapshots = { everyEntries: 60, everyBytes: 64 * 1024 * 1024, keepEntries: 5 };
  cluster = await TestCluster.start(3, { depsOf: disks.depsOf, deps: { log, snapshots } });
  const leader = await cluster.stable();
  const [full] = await cluster.followers();
  if (full === undefined) throw new Error("no follower");
  disks.of(full.name).full = true;
  await writeUntil("the follower has no space", leader, () => !full.replica.hasSpace);
  const behind = full.replica.lastIndex;
  // Until the leader's log begins after the follower's last entry.
  const refused = (): boolean =>
    notes.some((text) => text.startsWith("snapshot not delivered") && text.includes("is full"));
  await writeUntil("a snapshot is offered and refused", leader, refused);
  expect(notes.filter((text) => text.startsWith("installed a snapshot"))).toEqual([]);
  expect(full.replica.lastIndex).toBe(behind);

  disks.of(full.name).full = false;
  await cluster.agreed();
  expect(full.replica.applied).toBe(leader.replica.applied);
  expect(notes.filter((text) => text.startsWith("installed a snapshot"))).toHaveLength(1);
});

test("a restart while there is no space keeps everything acknowledged, and the vote", async () => {
  const disks = new TroubledDisks();
  cluster = await TestCluster.start(1, { depsOf: disks.depsOf });
  const leader = await cluster.leader();
  disks.of("n1").full = true;
  await writeUntil("no space", leader, () => !leader.replica.hasSpace);
  const { header } = await leader.getMembers();
  const { term } = leader.replica;
  await leader.stop();
  await leader.start();
  await until("it leads again, in a term of its own", () => leader.replica.isLeader);
  expect(leader.replica.term).toBeGreaterThan(term);
  expect((await leader.getMembers()).header?.revision).toBeGreaterThanOrEqual(header?.revision ?? 0n);
  await until("it notices that there is no space", () => !leader.replica.hasSpace);
  await refusal(leader.updateAdminUrl(large(writes++)), status.RESOURCE_EXHAUSTED, "DISK_FULL");
});

test("a snapshot without space is tried again later, and nothing is lost", async () => {
  const disks = new TroubledDisks();
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warn: (_fields, text) => void warnings.push(text) };
  const snapshots = { everyEntries: 20, everyBytes: 64 * 1024 * 1024, keepEntries: 5 };
  cluster = await TestCluster.start(1, { depsOf: disks.depsOf, deps: { snapshots, log } });
  const leader = await cluster.leader();
  const small = (i: number) => ({ name: "n1", adminUrls: [`http://127.0.0.1:${String(1 + i)}`] });
  const saved = async (): Promise<number[]> => {
    const { report } = await readLogOffline(leader.config.dataDir);
    return report.snapshots.map(({ index }) => index);
  };
  // One may be saved already: each member has indexes of its own for them.
  const { lastIndex } = leader.replica;
  disks.of("n1").full = true;
  for (let i = 0; i < 24; i++) await leader.updateAdminUrl(small(i));
  await until("a snapshot found no space", () =>
    warnings.some((text) => text.startsWith("no space for a snapshot")),
  );
  expect(leader.exitCode).toBeNull();
  expect((await saved()).filter((index) => index > lastIndex)).toEqual([]);

  disks.of("n1").full = false;
  let i = 100;
  await until("a later one is saved", async () => {
    await leader.updateAdminUrl(small(i++));
    return (await saved()).some((index) => index > lastIndex);
  });
  await leader.stop();
  await leader.start();
  await cluster.settled();
});

test("a sync that fails ends the member: file and errno in its log, exit code 1, never tried again", async () => {
  const disks = new TroubledDisks();
  const failures: Error[] = [];
  const log: Log = {
    ...silentLog,
    error: (_fields, _text, err) => {
      if (err !== undefined) failures.push(err);
    },
  };
  cluster = await TestCluster.start(3, { depsOf: disks.depsOf, deps: { log } });
  const leader = await cluster.stable();
  const survivors = await cluster.followers();
  const disk = disks.of(leader.name);
  const connection = leader.client.getChannel();
  await leader.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:1"] });

  disk.failNextSync((path) => path.endsWith(".wal"));
  // The member does not acknowledge the entries that the failed sync would have covered.
  await expect(
    leader.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:2"] }, { timeoutMs: 5000 }),
  ).rejects.toThrow();
  expect(await leader.running.exited).toBe(1);
  expect(failures.map(({ message }) => message)).toEqual([
    `storage failed for good: ${disk.failedFile ?? ""}: EIO: i/o error, fdatasync`,
  ]);
  expect(disk.failedFile).toMatch(/\.wal$/);
  expect(disk.afterFailure).toEqual([]);
  expect(connection.getConnectivityState(false)).not.toBe(connectivityState.READY);
  await leader.stop();

  // The others go on without it, and it comes back with everything it had acknowledged.
  const leading = await cluster.leader();
  expect(survivors).toContain(leading);
  const { header } = await leading.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:3"] });
  await leader.start();
  await until("it has everything", () => leader.replica.applied >= Number(header?.revision));
  await cluster.agreed();
});
