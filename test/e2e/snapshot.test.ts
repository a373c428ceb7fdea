/**
 * A cluster that is saved under load, lost completely, and restored from the file by real commands and processes: writes
 * acknowledged before the save are there, ids and revisions are as documented, and the new cluster works.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Consistency, MusterError } from "../../src/client";
import type { GetMembersResponse } from "../../src/client";
import { readLogOffline } from "../../src/storage/offline";
import { ensureBuilt, killLeftovers, muster, until } from "./support/processes";
import { ProcessCluster, withCluster } from "./support/process_cluster";
import type { MemberProcess } from "./support/process_cluster";

jest.setTimeout(180_000);

beforeAll(() => {
  ensureBuilt();
}, 120_000);
afterAll(() => killLeftovers());

async function refusedWith(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof MusterError) return error.label;
    throw error;
  }
  throw new Error("it was to be refused");
}

const idsOf = ({ members }: GetMembersResponse): string[] => members.map(({ id }) => id);

/** Creates the data directories of the members of `cluster` from the file, each by one command. */
async function restore(file: string, cluster: ProcessCluster, token: string): Promise<void> {
  for (const { spec } of cluster.members) {
    const words = ["--name", spec.name, "--peer-url", spec.peerUrl, "--data-dir", spec.dataDir];
    words.push("--initial-cluster", spec.initialCluster, "--initial-cluster-token", token);
    const { code, stderr } = await muster(["snapshot", "restore", file, ...words]);
    expect([code, stderr]).toEqual([0, ""]);
  }
}

/** Sends one write after another until `stop` is called. `acknowledged` is the last acknowledged revision. */
function writing(member: MemberProcess): { acknowledged: bigint; stop: () => Promise<void> } {
  let on = true;
  const state = { acknowledged: 0n, stop: () => Promise.resolve() };
  const loop = (async () => {
    for (let i = 1; on; i++) {
      const adminUrls = [`http://127.0.0.1:${1 + (i % 60_000)}`];
      const { header } = await member.client.updateAdminUrl({ name: "n1", adminUrls, requestId: `w-${i}` });
      state.acknowledged = header?.revision ?? 0n;
    }
  })();
  state.stop = async () => {
    on = false;
    await loop;
  };
  return state;
}

interface Saved {
  readonly file: string;
  /** The roster after the load had stopped. */
  readonly before: GetMembersResponse;
  /** The file's log index. */
  readonly index: bigint;
}

/** Saves the state of three members at a follower while a client writes. */
async function saveUnderLoad(file: string): Promise<Saved> {
  let saved: Saved | null = null;
  await withCluster(3, async (cluster) => {
    // A member is added and removed, so that there is a tombstone.
    await cluster.member("n1").client.addMember({ name: "n4", peerUrl: "http://127.0.0.1:1" });
    await cluster.member("n1").client.deleteMember({ name: "n4" });
    const load = writing(await cluster.leader());
    while (load.acknowledged === 0n) await new Promise((resolve) => setImmediate(resolve));
    const acknowledgedBefore = load.acknowledged;
    const follower = await cluster.follower();
    const words = ["snapshot", "save", file, "--endpoints", follower.endpoint, "--output", "json"];
    const { code, stdout, stderr } = await muster(words);
    expect([code, stderr]).toEqual([0, ""]);
    const report = JSON.parse(stdout) as { revision: string; index: string; sizeBytes: string };
    expect(BigInt(report.revision)).toBeGreaterThanOrEqual(acknowledgedBefore);
    expect(Number(report.sizeBytes)).toBe(readFileSync(file).length);
    await load.stop();
    saved = { file, before: await cluster.member("n1").members(), index: BigInt(report.index) };
  });
  if (saved === null) throw new Error("nothing was saved");
  return saved;
}

/** Checks that the restored cluster has new ids and a later revision, and that the old members are removed permanently. */
async function expectNewCluster(restored: ProcessCluster, { before, index }: Saved): Promise<void> {
  const member = restored.member("n2");
  const after = await member.members(Consistency.LINEARIZABLE);
  expect(after.header?.clusterId).not.toBe(before.header?.clusterId);
  expect(after.members.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3"]);
  expect(idsOf(after).filter((id) => idsOf(before).includes(id))).toEqual([]);
  // Three members were removed and three were added: the revision continues from the saved index.
  expect(after.header?.revision).toBeGreaterThanOrEqual(index + 6n);
  for (const { createRevision } of after.members) expect(createRevision).toBeGreaterThan(index);

  // Old ids are removed permanently, and remembered requests are dropped.
  for (const id of idsOf(before)) {
    expect(await refusedWith(member.client.deleteMember({ id }))).toBe("MEMBER_REMOVED");
  }
  expect(await refusedWith(member.client.deleteMember({ name: "n4" }))).toBe("MEMBER_REMOVED");
  const { header } = await member.client.updateAdminUrl({
    name: "n3",
    adminUrls: [restored.member("n3").adminUrl, "http://127.0.0.1:2"],
    requestId: "w-1",
  });
  expect(header?.revision).toBeGreaterThan(after.header?.revision ?? 0n);
}

test("saved under load, restored as three members: the same state everywhere, and a working cluster", async () => {
  const restored = await ProcessCluster.prepare(3);
  try {
    const saved = await saveUnderLoad(restored.path("backup"));
    await restore(saved.file, restored, "again");
    const states = await Promise.all(restored.members.map(({ spec }) => readLogOffline(spec.dataDir)));
    const data = states.map(({ snapshot }) => Buffer.from(snapshot?.data ?? []).toString("base64"));
    expect(new Set(data).size).toBe(1);

    for (const member of restored.members) member.start();
    await restored.ready();
    await expectNewCluster(restored, saved);

    // The members restart from the restored directories, and one is removed.
    await Promise.all(restored.members.map((each) => each.stop()));
    for (const each of restored.members) each.start();
    await restored.ready();
    const { name } = await restored.follower();
    // The timeout is longer than the leader may wait for contact with its members.
    await (await restored.leader()).client.deleteMember({ name }, { timeoutMs: 20_000 });
    expect((await (await restored.leader()).members(Consistency.LINEARIZABLE)).members).toHaveLength(2);
    for (const each of restored.running) {
      await each.kill();
      const verified = await muster(["wal", "verify", each.spec.dataDir]);
      expect([verified.code, verified.stderr]).toEqual([0, ""]);
    }
  } catch (error) {
    restored.printOutput();
    throw error;
  } finally {
    await restored.destroy();
  }
});

test("restored as one member: it leads at once, and others join it", async () => {
  const solo = await ProcessCluster.prepare(1);
  try {
    await withCluster(1, async (cluster) => {
      const { code } = await muster([
        "snapshot",
        "save",
        solo.path("backup"),
        "--endpoints",
        cluster.endpoints,
      ]);
      expect(code).toBe(0);
    });
    await restore(solo.path("backup"), solo, "");
    // The repeated command is refused, because the directory exists.
    const [only] = solo.members;
    if (only === undefined) throw new Error("no member");
    const again = await muster([
      "snapshot",
      "restore",
      solo.path("backup"),
      ...["--name", only.name, "--peer-url", only.spec.peerUrl, "--data-dir", only.spec.dataDir],
    ]);
    expect(again).toMatchObject({
      code: 1,
      stderr: `muster: ${only.spec.dataDir} already holds a member's data.\n`,
    });
    only.start();
    await solo.ready();
    const joiner = await solo.joiner("n2");
    joiner.start();
    await until("it waits to join", () => joiner.output.includes("waiting to join"));
    await only.client.addMember({ name: "n2", peerUrl: joiner.spec.peerUrl });
    await solo.ready();
    expect((await joiner.members(Consistency.LINEARIZABLE)).members.map(({ name }) => name).sort()).toEqual([
      "n1",
      "n2",
    ]);
    const inspected = await muster(["wal", "inspect", join(only.spec.dataDir), "--entries"]);
    expect(inspected.stdout).toContain("add member");
  } catch (error) {
    solo.printOutput();
    throw error;
  } finally {
    await solo.destroy();
  }
});
