/**
 * Which data directory, which copy of it, and where, with real processes: members that lost their disk at birth, older
 * copies of a directory put back, copies in use at another address, and members that come back at other addresses. The
 * worst that may happen to a member is that it stops and says why; no answer is wrong.
 */
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Consistency } from "../../src/client";
import { copyDataDir } from "../storage/support/copy_data_dir";
import { MemberProcess, ProcessCluster, withCluster } from "./support/process_cluster";
import { ensureBuilt, freePortBlock, killLeftovers, until } from "./support/processes";

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);

const three = ({ members }: ProcessCluster) => members as [MemberProcess, MemberProcess, MemberProcess];

async function write(at: MemberProcess, name: string, adminUrl: string): Promise<void> {
  await at.client.updateAdminUrl({ name, adminUrls: [adminUrl] });
}

/** Starts the member, which must end by itself. */
async function mustEnd(member: MemberProcess): Promise<{ code: number | null; output: string }> {
  member.start();
  const { code } = await member.process.end();
  return { code, output: member.output };
}

/** Every running member answers a linearizable read with these admin URLs of `name`. */
async function allAnswer(cluster: ProcessCluster, name: string, adminUrl: string): Promise<void> {
  for (const member of cluster.running) {
    const { members } = await member.members(Consistency.LINEARIZABLE);
    expect(members.find((found) => found.name === name)?.adminUrls).toEqual([adminUrl]);
  }
}

test("wiped at birth: two of three form nothing, and a member that lost its disk is refused by those that met it", async () => {
  const cluster = await ProcessCluster.prepare(3);
  try {
    const [n1, n2, n3] = three(cluster);
    n1.start();
    n2.start();
    await until("n1 says for whom it waits", () => n1.output.includes("waits for the other members"));
    await until("n1 waits for n3 alone", () => n1.output.includes(`"waits_for":"n3 (${n3.spec.peerUrl})"`));
    expect([existsSync(n1.spec.dataDir), existsSync(n2.spec.dataDir)]).toEqual([false, false]);
    n3.start();
    await cluster.ready();
    await n3.kill();
    await write(n1, "n1", "http://10.0.0.1:1");
    await n1.kill();
    await n2.kill();
    rmSync(n2.spec.dataDir, { recursive: true });
    n3.start();
    const refused = await mustEnd(n2);
    expect(refused.code).toBe(9);
    expect(refused.output).toMatch(/n2 \([0-9a-f]+\) has started before, but this data directory is empty/);
    n1.start();
    await cluster.leader().catch(() => undefined);
    await until("the write is there", async () => {
      try {
        await allAnswer(cluster, "n1", n1.adminUrl);
        return true;
      } catch {
        return false;
      }
    });
  } catch (error) {
    cluster.printOutput();
    throw error;
  } finally {
    await cluster.destroy();
  }
}, 180_000);

test(
  "an older copy of a data directory, put back: the member exits with 9 and says what to do",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, old] = [await cluster.leader(), await cluster.follower()];
      await old.stop();
      const copy = cluster.path("copy");
      copyDataDir(old.spec.dataDir, copy);
      old.start();
      await cluster.ready();
      await until("its start is published", () => (old.output.match(/"msg":"published"/g) ?? []).length >= 2);
      await write(leader, leader.name, "http://10.0.0.1:2");
      await cluster.settled();
      await old.kill();
      rmSync(old.spec.dataDir, { recursive: true });
      renameSync(copy, old.spec.dataDir);
      const { code, output } = await mustEnd(old);
      expect(code).toBe(9);
      expect(output).toMatch(/older copy/);
      expect(output).toMatch(/add it again with an empty data directory/);
      await allAnswer(cluster, leader.name, "http://10.0.0.1:2");
    }),
  180_000,
);

test(
  "a copy at another address: let in only when the original is gone, and then the original exits with 9",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, original] = [await cluster.leader(), await cluster.follower()];
      await until("its start is published", () => original.output.includes('"msg":"published"'));
      // The file by which a start knows of its own publish is written a moment later.
      const boots = join(original.spec.dataDir, "boots");
      await until("its directory says so", () => /^revision [1-9]/.test(readFileSync(boots, "utf8")));
      const dataDir = cluster.path("twin");
      copyDataDir(original.spec.dataDir, dataDir);
      const base = await freePortBlock([0, 1]);
      const peerUrl = `http://127.0.0.1:${base + 1}`;
      const twin = new MemberProcess({ ...original.spec, dataDir, adminPort: base, peerUrl });
      twin.start();
      try {
        const others = cluster.members.filter((member) => member !== original);
        const said = "a second process connects as this member while the first one is connected";
        await until("the others say so", () => others.every(({ output }) => output.includes(said)));
        await write(leader, leader.name, "http://10.0.0.1:3");
        await original.stop();
        await until("the copy took its place", async () => {
          const listed = (await leader.cluster())?.members.find((s) => s.member?.name === original.name);
          return listed?.member?.peerUrls.join() === peerUrl;
        });
        const { code, output } = await mustEnd(original);
        expect([code, output.includes("older copy")]).toEqual([9, true]);
        await allAnswer(cluster, leader.name, "http://10.0.0.1:3");
        expect(twin.running).toBe(true);
      } finally {
        twin.process.signal("SIGKILL");
        await twin.process.end();
        twin.client.close();
      }
    }),
  180_000,
);

test(
  "other addresses, of one member and then of all at once, with no call to the cluster",
  () =>
    withCluster(3, async (cluster) => {
      const base = await freePortBlock([0, 1, 2, 3]);
      const url = (i: number): string => `http://127.0.0.1:${base + i}`;
      const listed = async (): Promise<string[]> => {
        const answer = await cluster.running[0]?.cluster();
        const members = [...(answer?.members ?? [])].sort((a, b) =>
          (a.member?.name ?? "") < (b.member?.name ?? "") ? -1 : 1,
        );
        return members.map(({ member }) => member?.peerUrls.join() ?? "");
      };
      const [n1, n2, n3] = three(cluster);
      await n1.stop();
      n1.spec = {
        ...n1.spec,
        peerUrl: url(3),
        initialCluster: n1.spec.initialCluster.replace(n1.spec.peerUrl, url(3)),
      };
      n1.start();
      await cluster.ready();
      await until("the roster follows n1", async () => (await listed())[0] === url(3));
      expect(n1.output).toContain("the roster has another peer URL for this member");

      for (const member of [n1, n2, n3]) await member.kill();
      const initialCluster = cluster.members.map(({ name }, i) => `${name}=${url(i)}`).join(",");
      for (const [i, member] of cluster.members.entries()) {
        member.spec = { ...member.spec, peerUrl: url(i), initialCluster };
        member.start();
      }
      await cluster.ready();
      await until(
        "the roster follows all",
        async () => (await listed()).join() === [url(0), url(1), url(2)].join(),
      );
    }),
  180_000,
);
