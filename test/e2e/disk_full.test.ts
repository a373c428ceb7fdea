/**
 * A real full disk: the leader's data directory is on a small tmpfs, which is filled with other files and freed again.
 * Where no tmpfs can be mounted, the test reports that it was skipped, in its name and on standard error.
 */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { Consistency, MusterError } from "../../src/client";
import { HealthCheckResponse_ServingStatus, HealthClient } from "../../src/generated/grpc/health/v1/health";
import { ensureBuilt, killLeftovers, muster, until } from "./support/processes";
import { ProcessCluster } from "./support/process_cluster";
import type { MemberProcess } from "./support/process_cluster";

jest.setTimeout(180_000);

/**
 * The first segment takes 3 MiB and is extended by 1 MiB at a time, ahead of need. The one whose disk is not filled needs an
 * extension more than the others, and room for its small files.
 */
const DISK_BYTES = 7 * 1024 * 1024;

function mount(dir: string): string | null {
  mkdirSync(dir, { recursive: true });
  const { status, stderr, error } = spawnSync(
    "mount",
    ["-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "tmpfs", dir],
    {
      encoding: "utf8",
    },
  );
  if (status === 0) return null;
  return error?.message ?? stderr.trim();
}

function unmount(dir: string): void {
  spawnSync("umount", [dir]);
}

/** The reason why no tmpfs can be mounted here; null when it can. */
function whyNot(): string | null {
  const dir = mkdtempSync(join(tmpdir(), "muster-tmpfs-"));
  try {
    const problem = mount(dir);
    if (problem === null) unmount(dir);
    return problem;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const problem = whyNot();

/** Declares the test, or a test whose name says that it was skipped. */
function onRealDisk(name: string, body: () => Promise<void>): void {
  if (problem === null) test(name, body);
  else {
    test(`SKIPPED, no tmpfs can be mounted here: ${name}`, () => {
      process.stderr.write(`skipped: ${name}: ${problem}\n`);
      expect(problem).not.toBe("");
    });
  }
}

/** Fills the rest of the disk with a file outside the data directory. */
function fill(dir: string): string {
  const file = join(dir, "other-data");
  const fd = openSync(file, "w");
  try {
    for (;;) writeSync(fd, Buffer.alloc(16 * 1024, 1));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    closeSync(fd);
  }
  return file;
}

function health(member: MemberProcess): Promise<string> {
  const client = new HealthClient(member.endpoint, credentials.createInsecure());
  return new Promise((resolve) => {
    client.check({ service: "" }, (error, response) => {
      client.close();
      if (error !== null) resolve(error.message);
      else resolve(response.status === HealthCheckResponse_ServingStatus.SERVING ? "SERVING" : "NOT_SERVING");
    });
  });
}

const label = "x".repeat(60);
/** About 8 KB, each different from the one before. */
const urls = (i: number): string[] =>
  Array.from({ length: 32 }, (_, n) => `http://${label}.${label}.${label}.w${i}-${n}:1`);

beforeAll(() => {
  ensureBuilt();
}, 120_000);
afterAll(() => killLeftovers());

/** One write after the other until the leader refuses: at the leader, so that the refusal is its own. */
async function writeUntilRefused(leader: MemberProcess): Promise<{
  readonly acknowledged: number;
  readonly revision: bigint;
  readonly refusal: MusterError | null;
}> {
  let acknowledged = 0;
  let revision = 0n;
  while (acknowledged < 1000) {
    try {
      const { header } = await leader.client.updateAdminUrl({
        name: "n1",
        adminUrls: urls(acknowledged + 1),
      });
      revision = header?.revision ?? 0n;
      acknowledged++;
    } catch (error) {
      if (!(error instanceof MusterError)) throw error;
      return { acknowledged, revision, refusal: error };
    }
  }
  return { acknowledged, revision, refusal: null };
}

/** Writes, through the member whose disk is full, until it has handed its leadership over; none of them is refused. */
async function writeUntilHandedOver(full: MemberProcess): Promise<void> {
  for (let i = 0; i < 1000 && !full.output.includes("handing leadership"); i++)
    await full.client.updateAdminUrl({ name: "n2", adminUrls: urls(i) }, { timeoutMs: 20_000 });
  await until("another leads", async () => {
    const { leaderId, memberId } = (await full.cluster())?.header ?? { leaderId: "", memberId: "" };
    return leaderId !== "" && leaderId !== memberId;
  });
  await full.client.updateAdminUrl({ name: "n2", adminUrls: urls(-2) }, { timeoutMs: 20_000 });
}

/** Checks that the command at a follower reports DISK_FULL: its exit code and its hint. */
async function expectRefusedByCommand(follower: MemberProcess): Promise<void> {
  const words = ["member", "update", "n1", "--admin-url", "http://127.0.0.1:1"];
  const refused = await muster([...words, "--endpoints", follower.endpoint]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("muster: DISK_FULL: ");
  expect(refused.stderr).toContain("make space on the leader's disk");
}

/**
 * Kills the member and starts it while there is still no space: it becomes a follower and accepts no entries, and the two
 * others go on. It is started only when another member leads, because it could win the election again and refuse writes;
 * another may lead already, for the member hands over as soon as it hears that the first one has space.
 */
async function restartWithoutSpace(
  leader: MemberProcess,
  follower: MemberProcess,
  revision: bigint,
): Promise<void> {
  const own = (await leader.cluster())?.header?.memberId;
  await leader.kill();
  await until("another leads", async () => {
    const id = (await follower.cluster())?.header?.leaderId ?? "";
    return id !== "" && id !== own;
  });
  leader.start();
  await until("it follows, and has everything acknowledged before", async () => {
    const header = (await leader.cluster())?.header;
    return header !== undefined && header.leaderId !== "" && header.revision >= revision;
  });
  const others = await follower.client.updateAdminUrl(
    { name: "n2", adminUrls: urls(-1) },
    { timeoutMs: 20_000 },
  );
  expect((await leader.members()).header?.revision).toBeLessThan(others.header?.revision ?? 0n);
  await until("health says so", async () => (await health(leader)) === "NOT_SERVING");
}

/** Checks that with space again the member serves, all rosters are equal, and every log is undamaged. */
async function expectRecovered(cluster: ProcessCluster, leader: MemberProcess): Promise<void> {
  await until("the disk is noticed to have space", () =>
    leader.output.includes("there is space for the log again"),
  );
  await leader.client.updateAdminUrl({ name: "n2", adminUrls: urls(0) }, { timeoutMs: 20_000 });
  await cluster.ready();
  const rosters = await Promise.all(cluster.members.map((member) => member.members()));
  for (const { members } of rosters) expect(members).toEqual(rosters[0]?.members);
  expect(rosters[0]?.members.find(({ name }) => name === "n2")?.adminUrls).toEqual(urls(0));
  for (const member of cluster.members) {
    await until(`${member.name} serves`, async () => (await health(member)) === "SERVING");
    await member.stop();
    const verified = await muster(["wal", "verify", member.spec.dataDir]);
    expect([verified.code, verified.stderr]).toEqual([0, ""]);
  }
}

onRealDisk(
  "the leader's disk fills up, then the next one's, and both are freed: nothing acknowledged is lost",
  async () => {
    const cluster = await ProcessCluster.prepare(3);
    const mounted: string[] = [];
    try {
      for (const { spec } of cluster.members) {
        expect(mount(spec.dataDir)).toBeNull();
        mounted.push(spec.dataDir);
      }
      for (const member of cluster.members) member.start();
      await cluster.ready();
      const first = await cluster.leader();
      expect(await health(first)).toBe("SERVING");

      const firstBallast = fill(first.spec.dataDir);
      await writeUntilHandedOver(first);
      const leader = await cluster.leader();
      expect(leader).not.toBe(first);
      const table = await muster(["cluster", "--endpoints", leader.endpoint]);
      expect(table.stdout.split("\n").filter((line) => line.includes("disk full"))).toHaveLength(1);
      await until("health says so", async () => (await health(first)) === "NOT_SERVING");

      // With a second one full too, no leader could commit anything: this one leads on, and refuses.
      const ballast = fill(leader.spec.dataDir);
      const { acknowledged, revision, refusal } = await writeUntilRefused(leader);
      expect(refusal?.label).toBe("DISK_FULL");
      expect(acknowledged).toBeGreaterThan(10);
      const follower = cluster.running.find((member) => member !== first && member !== leader);
      if (follower === undefined) throw new Error("no third member");
      await expectRefusedByCommand(follower);
      const { header, members } = await leader.members(Consistency.LINEARIZABLE);
      expect(header?.revision).toBe(revision);
      expect(members.find(({ name }) => name === "n1")?.adminUrls).toEqual(urls(acknowledged));
      await until("health says so", async () => (await health(leader)) === "NOT_SERVING");
      expect(leader.output).toContain("the disk is full");
      expect(await health(follower)).toBe("SERVING");

      rmSync(firstBallast);
      await until("there is space", () => first.output.includes("there is space for the log again"));
      await restartWithoutSpace(leader, follower, revision);
      rmSync(ballast);
      await expectRecovered(cluster, leader);
    } catch (error) {
      cluster.printOutput();
      throw error;
    } finally {
      for (const member of cluster.running) await member.kill();
      for (const dir of mounted) unmount(dir);
      await cluster.destroy();
    }
  },
);
