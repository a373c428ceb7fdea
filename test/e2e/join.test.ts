/**
 * Members that add themselves with --join, as processes, under load: a cluster of one grows to seven while a joiner and the
 * leader are killed, and a member whose disk is lost replaces itself.
 */
import { rmSync } from "node:fs";
import { Consistency } from "../../src/client";
import { Load } from "./support/load";
import { ProcessCluster, withCluster } from "./support/process_cluster";
import type { MemberProcess } from "./support/process_cluster";
import { ensureBuilt, freePortBlock, killLeftovers, until } from "./support/processes";
import { stopAndCheck } from "./support/stop_and_check";

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);

/** Most writes that are read back from the logs at the end; a log keeps more entries than that. */
const WRITES_MAX = 3000;

async function isListed(cluster: ProcessCluster, name: string): Promise<boolean> {
  const answers = await Promise.all(cluster.running.map((member) => member.cluster()));
  return answers.some((answer) => answer?.members.some(({ member }) => member?.name === name) === true);
}

async function moreAcknowledged(load: Load): Promise<void> {
  const now = performance.now();
  await until("writes are acknowledged", () => load.firstAcknowledgedAfter(now) !== null);
}

async function grow(cluster: ProcessCluster, load: Load, joiners: readonly MemberProcess[]): Promise<void> {
  const [n2, n3, n4, n5, n6, n7] = joiners;
  if (n2 === undefined || n3 === undefined || n5 === undefined) throw new Error("no joiners");
  load.start();
  await moreAcknowledged(load);
  n2.start();
  n3.start();
  await cluster.voting(["n1", "n2", "n3"]);

  for (const joiner of [n4, n5, n6, n7]) joiner?.start();
  await until("n5 is listed", () => isListed(cluster, "n5"));
  await n5.kill();
  const leader = await cluster.leader();
  await leader.kill();
  n5.start();
  await until("another member leads", async () => (await cluster.leader()) !== leader);
  await moreAcknowledged(load);
  leader.start();
  await cluster.voting(["n1", "n2", "n3", "n4", "n5", "n6", "n7"]);
  await moreAcknowledged(load);
}

test("one member grows to three and to seven, four at once, with kills; no acknowledged write is lost", async () => {
  const cluster = await ProcessCluster.start(1);
  try {
    const [n1] = cluster.members;
    const wrong = await freePortBlock([0]);
    const joiners: MemberProcess[] = [];
    for (const name of ["n2", "n3", "n4", "n5", "n6", "n7"]) {
      const joiner = await cluster.joiner(name);
      const known = name < "n4" ? [n1?.endpoint] : [n1?.spec.peerUrl, joiners[0]?.endpoint];
      joiner.spec = { ...joiner.spec, join: ["--join", [`127.0.0.1:${wrong}`, ...known].join()] };
      joiners.push(joiner);
    }
    const endpoints = cluster.members.map((member) => member.endpoint);
    const load = new Load({ endpoints, targets: ["n1"], seed: 24, writers: 6, churners: 0, thinkMsMax: 300 });
    try {
      await grow(cluster, load, joiners);
    } finally {
      await load.stop();
    }
    expect(load.count("acknowledged")).toBeLessThan(WRITES_MAX);
    const { problems, uncovered } = await stopAndCheck(cluster, load);
    expect({ problems, uncovered }).toEqual({ problems: [], uncovered: 0 });
  } catch (error) {
    cluster.printOutput();
    throw error;
  } finally {
    await cluster.destroy();
  }
}, 400_000);

test(
  "a member whose disk is lost is refused with the command, and replaces itself with --replace-if-wiped",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, lost] = [await cluster.leader(), await cluster.follower()];
      const others = cluster.members.filter((member) => member !== lost);
      const join = ["--join", others.map(({ endpoint }) => endpoint).join()];
      const idOf = async (): Promise<string> => {
        const { members } = await leader.members(Consistency.LINEARIZABLE);
        return members.find(({ name }) => name === lost.name)?.id ?? "";
      };
      const id = await idOf();
      await lost.kill();
      rmSync(lost.spec.dataDir, { recursive: true });

      lost.spec = { ...lost.spec, join };
      lost.start();
      expect(await lost.process.end()).toEqual({ code: 9, signal: null });
      const command = `muster member replace ${lost.name} --endpoints `;
      expect(lost.output).toContain(command);
      expect(await idOf()).toBe(id);

      lost.spec = { ...lost.spec, join: [...join, "--replace-if-wiped"] };
      lost.start();
      await until("it has another id", async () => (await idOf()) !== id);
      await cluster.voting(["n1", "n2", "n3"]);
      await leader.client.updateAdminUrl({ name: leader.name, adminUrls: ["http://10.0.0.1:1"] });
      await until("it has the write", async () => {
        const { members } = await lost.members();
        return members.some(({ adminUrls }) => adminUrls.includes("http://10.0.0.1:1"));
      });
      // The flag stays in its configuration; with its directory it is the same member.
      const replaced = await idOf();
      await lost.kill();
      lost.start();
      await cluster.ready();
      expect(await idOf()).toBe(replaced);
    }),
  240_000,
);
