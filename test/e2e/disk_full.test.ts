/**
 * A real disk that is full: the leader's data directory is a small tmpfs, filled by other files and freed again. Where
 * the machine does not let a test mount one, the test says that it was skipped, in its name and on standard error.
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

/** The first segment takes 3 MiB; there is room for one extension more at most. */
const DISK_BYTES = 5 * 1024 * 1024;

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

/** Why no tmpfs can be mounted here, or null. */
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

/** The test, or one that says that it was not run. */
function onRealDisk(name: string, body: () => Promise<void>): void {
  if (problem === null) test(name, body);
  else {
    test(`SKIPPED, no tmpfs can be mounted here: ${name}`, () => {
      process.stderr.write(`skipped: ${name}: ${problem}\n`);
      expect(problem).not.toBe("");
    });
  }
}

/** Other people's files: as much as there is room for. */
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

onRealDisk("the leader's disk fills up and is freed again: nothing acknowledged is lost", async () => {
  const cluster = await ProcessCluster.prepare(3);
  const mounted: string[] = [];
  try {
    for (const { spec } of cluster.members) {
      expect(mount(spec.dataDir)).toBeNull();
      mounted.push(spec.dataDir);
    }
    for (const member of cluster.members) member.start();
    await cluster.ready();
    const leader = await cluster.leader();
    const follower = await cluster.follower();
    expect(await health(leader)).toBe("SERVING");

    const ballast = fill(leader.spec.dataDir);
    // One write after the other until the leader refuses: at the leader, so that the refusal is its own.
    let acknowledged = 0;
    let revision = 0n;
    let refusal: MusterError | null = null;
    while (refusal === null && acknowledged < 1000) {
      try {
        const { header } = await leader.client.updateAdminUrl({
          name: "n1",
          adminUrls: urls(acknowledged + 1),
        });
        revision = header?.revision ?? 0n;
        acknowledged++;
      } catch (error) {
        if (!(error instanceof MusterError)) throw error;
        refusal = error;
      }
    }
    expect(refusal?.label).toBe("DISK_FULL");
    expect(acknowledged).toBeGreaterThan(10);
    // At any member, and by the command with its exit code and what to do.
    const refused = await muster([
      "member",
      "update",
      "n1",
      "--admin-url",
      "http://127.0.0.1:1",
      "--endpoints",
      follower.endpoint,
    ]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("muster: DISK_FULL: ");
    expect(refused.stderr).toContain("make space on the leader's disk");
    const kept = async (): Promise<void> => {
      const { header, members } = await leader.members(Consistency.LINEARIZABLE);
      expect(header?.revision).toBe(revision);
      expect(members.find(({ name }) => name === "n1")?.adminUrls).toEqual(urls(acknowledged));
    };
    await kept();
    await until("health says so", async () => (await health(leader)) === "NOT_SERVING");
    expect(leader.output).toContain("the disk is full");
    expect(await health(follower)).toBe("SERVING");

    // Killed and started while there is still no space: it follows, takes no entries, and the two others go on.
    // Not before another leads: it could win the next election as well, and refuse as before.
    const led = (await leader.cluster())?.header?.leaderId;
    await leader.kill();
    await until("another leads", async () => {
      const id = (await follower.cluster())?.header?.leaderId ?? "";
      return id !== "" && id !== led;
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

    rmSync(ballast);
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
  } catch (error) {
    cluster.printOutput();
    throw error;
  } finally {
    for (const member of cluster.running) await member.kill();
    for (const dir of mounted) unmount(dir);
    await cluster.destroy();
  }
});
