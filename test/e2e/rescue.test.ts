/**
 * `muster rescue` with real processes: a quorum is lost for good, and what is left makes a working cluster with everything
 * acknowledged in it. The first test runs the page's section "Quorum lost with the data intact" as it is written.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Consistency, MusterClient, MusterError } from "../../src/client";
import { OFFSETS, Site } from "./support/operations_page";
import { ensureBuilt, freePortBlock, killLeftovers, muster, until } from "./support/processes";
import { ProcessCluster, withCluster } from "./support/process_cluster";

jest.setTimeout(180_000);

beforeAll(() => {
  ensureBuilt();
}, 120_000);
afterAll(() => killLeftovers());

// --- The page -----------------------------------------------------------------------------------------------------

const LOST = "Quorum lost with the data intact";

/** Waits until a write of a new admin URL for n1 is acknowledged. @returns its revision */
async function written(client: MusterClient, requestId: string, describe: () => string): Promise<bigint> {
  let revision = 0n;
  let seen = "";
  const write = async (): Promise<boolean> => {
    try {
      const adminUrls = [`http://127.0.0.1:${requestId.length}`];
      const { header } = await client.updateAdminUrl({ name: "n1", adminUrls, requestId });
      revision = header?.revision ?? 0n;
    } catch (error) {
      seen = String(error);
      return false;
    }
    return true;
  };
  await until("a write is acknowledged", write, () => `${seen}\n${describe()}`);
  return revision;
}

test("the page's section, after n3 and a running majority are lost", async () => {
  const site = new Site(await freePortBlock(OFFSETS), ["The example", LOST]);
  const endpoints = site.adminPorts.map((port) => `127.0.0.1:${port}`);
  const client = new MusterClient({ endpoints, timeoutMs: 3000 });
  const printed = (back: number): string => site.outputs.at(-back)?.stdout ?? "";
  try {
    await site.run("The example");
    const revision = await written(client, "before", () => site.output());
    await site.killAll();
    rmSync(join(site.folder, "n3.data"), { recursive: true });

    await site.run(LOST);
    const said = printed(2);
    expect(said).toMatch(/^n1\.data +n1 +[0-9a-f]+ +voter +\d+ /m);
    expect(said).toMatch(/^n2\.data +n2 +[0-9a-f]+ +voter +\d+ /m);
    expect(said).toContain("muster snapshot restore rescued.backup --name n3 ");
    const saved = Number(/revision (\d+), members 3$/m.exec(said)?.[1]);
    expect(saved).toBeGreaterThanOrEqual(Number(revision));
    expect(printed(1)).toContain("rescued.backup: whole");
    await site.run(LOST);
    await site.run(LOST);
    await written(client, "after", () => site.output());
    await site.run(LOST);
    const listed = printed(1);
    expect(listed).toMatch(/\bn1\b/);
    expect(listed).toMatch(/\bn2\b/);
    expect(listed).not.toMatch(/\bn3\b/);
    expect(site.left).toEqual([]);
  } finally {
    client.close();
    await site.destroy();
  }
});

// --- Subsets ------------------------------------------------------------------------------------------------------

/** A part of what `snapshot inspect --output json` prints; numbers are text there. */
interface Inspected {
  readonly revision: string;
  readonly tombstoneCount: string;
  readonly members: readonly { readonly name: string }[];
}

/** What the survivors' directories give, as a file. */
async function rescued(dirs: readonly string[], out: string): Promise<Inspected> {
  const { code, stderr } = await muster(["rescue", ...dirs, "--out", out]);
  expect([code, stderr]).toEqual([0, ""]);
  const inspected = await muster(["snapshot", "inspect", out, "--output", "json"]);
  expect(inspected.code).toBe(0);
  return JSON.parse(inspected.stdout) as Inspected;
}

/** A cluster of one made from the file leads, and answers for the members of the old one. */
async function expectWorks(file: string, removed: readonly string[]): Promise<void> {
  const solo = await ProcessCluster.prepare(1);
  try {
    const { spec } = solo.member("n1");
    const words = ["--name", "n1", "--peer-url", spec.peerUrl, "--data-dir", spec.dataDir];
    const { code, stderr } = await muster(["snapshot", "restore", file, ...words]);
    expect([code, stderr]).toEqual([0, ""]);
    solo.member("n1").start();
    await solo.ready();
    const { client } = solo.member("n1");
    expect((await client.getMembers({ consistency: Consistency.LINEARIZABLE })).members).toHaveLength(1);
    for (const name of removed) {
      await expect(client.deleteMember({ name })).rejects.toMatchObject({ label: "MEMBER_REMOVED" });
    }
  } catch (error) {
    solo.printOutput();
    throw error;
  } finally {
    await solo.destroy();
  }
}

test("1 of 3: a running member's directory is refused; each single one gives everything acknowledged", async () => {
  await withCluster(3, async (cluster) => {
    const { client } = await cluster.leader();
    await client.addMember({ name: "n4", peerUrl: "http://127.0.0.1:1" });
    const { header } = await client.deleteMember({ name: "n4" });
    await cluster.settled();
    const out = cluster.path("rescued");
    const running = await muster(["rescue", cluster.member("n2").spec.dataDir, "--out", out]);
    expect(running.code).toBe(1);
    expect(running.stderr).toContain("is in use by another process");
    await Promise.all(cluster.members.map((member) => member.kill()));

    for (const { name, spec } of cluster.members) {
      const file = `${out}-${name}`;
      const report = await rescued([spec.dataDir], file);
      expect(Number(report.revision)).toBeGreaterThanOrEqual(Number(header?.revision));
      expect(report.members.map((member) => member.name).sort()).toEqual(["n1", "n2", "n3"]);
      expect(Number(report.tombstoneCount)).toBe(1);
    }
    const again = await muster(["rescue", cluster.member("n1").spec.dataDir, "--out", `${out}-n1`]);
    expect([again.code, again.stderr.includes("is there already")]).toEqual([2, true]);
    await expectWorks(`${out}-n2`, ["n2", "n3", "n4"]);
  });
});

test("2 of 5, killed while they write: what the survivors have acknowledged is there", async () => {
  await withCluster(5, async (cluster) => {
    const leader = await cluster.leader();
    let acknowledged = 0n;
    let writes = 0;
    const load = (async (): Promise<unknown> => {
      for (;;) {
        const adminUrls = [`http://127.0.0.1:${1 + (writes % 60_000)}`];
        const { header } = await leader.client.updateAdminUrl({
          name: "n1",
          adminUrls,
          requestId: `w-${writes}`,
        });
        acknowledged = header?.revision ?? 0n;
        writes++;
      }
    })().catch((error: unknown) => error);
    await until("some writes are acknowledged", () => writes >= 40);
    await Promise.all(cluster.members.map((member) => member.kill()));
    expect(await load).toBeInstanceOf(MusterError);

    const other = cluster.members.find((member) => member !== leader);
    if (other === undefined) throw new Error("a cluster of five has others");
    const file = cluster.path("rescued");
    const report = await rescued([other.spec.dataDir, leader.spec.dataDir], file);
    expect(Number(report.revision)).toBeGreaterThanOrEqual(Number(acknowledged));
    expect(report.members).toHaveLength(5);
    await expectWorks(file, ["n2", "n3", "n4", "n5"]);
  });
});
