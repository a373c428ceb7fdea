/**
 * How processes end and refuse to start: SIGTERM under load, every member killed at once, and wrong configurations, each
 * with its exit code and one line on stderr.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readLogOffline } from "../../src/storage/offline";
import { Load } from "./support/load";
import { checkLogs } from "./support/log_check";
import { ProcessCluster, withCluster } from "./support/process_cluster";
import { ensureBuilt, freePortBlock, killLeftovers, muster, until } from "./support/processes";

const TIMEOUT_MS = 150_000;

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);

function loadOn(cluster: ProcessCluster): Load {
  const load = new Load({
    endpoints: cluster.members.map((member) => member.endpoint),
    targets: cluster.members.map((member) => member.name),
    seed: Math.floor(Math.random() * 1e9),
    writers: 8,
    churners: 0,
    thinkMsMax: 20,
  });
  load.start();
  return load;
}

async function acknowledged(load: Load, count: number): Promise<void> {
  await until(`${count} writes acknowledged`, () => load.count("acknowledged") >= count);
}

async function problemsOf(
  cluster: ProcessCluster,
  load: Load,
  appliedIndex: number,
): Promise<readonly string[]> {
  const logs = cluster.members.map(({ name, spec }) => ({ name, dataDir: spec.dataDir }));
  const { problems } = await checkLogs(logs, load.records, appliedIndex);
  return [...problems, ...load.unexpected];
}

test(
  "SIGTERM to the leader under load: exit code 0, a closed log, no acknowledged write is lost",
  () =>
    withCluster(3, async (cluster) => {
      const load = loadOn(cluster);
      await acknowledged(load, 100);
      const leader = await cluster.leader();
      expect(await leader.stop()).toEqual({ code: 0, signal: null });
      const stoppedMs = performance.now();
      // The log is complete on disk before it is opened again.
      const log = await readLogOffline(leader.spec.dataDir);
      expect(log.report).toMatchObject({ tornTail: null, damagedSnapshots: [], leftovers: [] });
      await until("the others take writes", () => load.firstAcknowledgedAfter(stoppedMs) !== null);
      await acknowledged(load, load.count("acknowledged") + 100);

      leader.start();
      await cluster.ready();
      await load.stop();
      await cluster.settled();
      const applied = Number((await leader.cluster())?.appliedIndex);
      for (const member of cluster.members) expect(await member.stop()).toEqual({ code: 0, signal: null });
      expect(await problemsOf(cluster, load, applied)).toEqual([]);
    }),
  TIMEOUT_MS,
);

test(
  "all members killed at once under load: every acknowledged write is there after the restart",
  () =>
    withCluster(3, async (cluster) => {
      const load = loadOn(cluster);
      await acknowledged(load, 300);
      await Promise.all(cluster.members.map((member) => member.kill()));
      const beforeRestart = load.count("acknowledged");
      for (const member of cluster.members) member.start();
      await cluster.ready();
      await acknowledged(load, beforeRestart + 50);
      await load.stop();
      await cluster.settled();
      const applied = Number((await cluster.leader().then((leader) => leader.cluster()))?.appliedIndex);
      const live = await cluster.members[0]?.members();
      for (const member of cluster.members) expect(await member.stop()).toEqual({ code: 0, signal: null });
      expect(await problemsOf(cluster, load, applied)).toEqual([]);
      expect(live?.members.every(({ started }) => started)).toBe(true);
    }),
  TIMEOUT_MS,
);

test(
  "SIGINT works like SIGTERM, and the member of a cluster of one stops and starts",
  () =>
    withCluster(1, async (cluster) => {
      const [only] = cluster.members;
      if (only === undefined) throw new Error("no member");
      const elsewhere = "http://10.0.0.1:7460";
      const words = ["member", "update", "n1", "--admin-url", elsewhere, "--endpoints", only.endpoint];
      expect((await muster(words)).code).toBe(0);
      expect((await only.members()).members[0]?.adminUrls).toEqual([elsewhere]);
      only.process.signal("SIGINT");
      expect(await only.process.end()).toEqual({ code: 0, signal: null });
      const log = await readLogOffline(only.spec.dataDir);
      expect(log.report.tornTail).toBeNull();
      only.start();
      await cluster.ready();
      // At its start the configured admin URL replaces the earlier change.
      const published = async (): Promise<boolean> =>
        (await only.members()).members[0]?.adminUrls.join() === only.adminUrl;
      await until("it has published its own address again", published);
      const isSaid = (): boolean => only.output.includes("the configured admin-url replaced the roster's");
      await until("it has said so", isSaid);
    }),
  TIMEOUT_MS,
);

test(
  "a data directory in use is exit code 1 and one line",
  () =>
    withCluster(1, async (cluster) => {
      const [holder] = cluster.members;
      if (holder === undefined) throw new Error("no member");
      const base = await freePortBlock([0, 1]);
      const { dataDir, name } = holder.spec;
      const urls = ["--admin-url", `http://127.0.0.1:${base}`, "--peer-url", `http://127.0.0.1:${base + 1}`];
      const cluster1 = ["--initial-cluster", `${name}=http://127.0.0.1:${base + 1}`];
      const second = await muster(["server", "--name", name, "--data-dir", dataDir, ...urls, ...cluster1]);
      expect(second).toEqual({
        code: 1,
        stdout: "",
        stderr: `muster: ${dataDir} is in use by another process: stop it, or give this member a data directory of its own.\n`,
      });
      // The process that uses the directory was not disturbed.
      expect((await holder.members(1)).members.map((member) => member.name)).toEqual([name]);
    }),
  TIMEOUT_MS,
);

describe("a wrong configuration is exit code 2 and one line that names the place", () => {
  const good = {
    name: "n1",
    "admin-url": "http://127.0.0.1:7460",
    "peer-url": "http://127.0.0.1:7461",
    "initial-cluster": "n1=http://127.0.0.1:7461",
  };
  let cluster: ProcessCluster;
  beforeAll(async () => {
    cluster = await ProcessCluster.prepare(1);
  });
  afterAll(() => cluster.destroy());

  const cases: [string, Record<string, string>, RegExp][] = [
    ["an unknown key", { nmae: "n1" }, /nmae: unknown key; known are name, /],
    ["a key of a later version", { "metrics-addr": "127.0.0.1:7462" }, /metrics-addr: not supported yet/],
    [
      "a bad value",
      { "election-timeout": "soon" },
      /election-timeout: must be a whole number of milliseconds/,
    ],
    [
      "a contradiction",
      { "election-timeout": "400" },
      /election-timeout: 400 ms is less than 5 heartbeat intervals/,
    ],
    [
      "a name that is not in the cluster",
      { name: "n9" },
      /initial-cluster: does not name this member, "n9"; it names n1$/,
    ],
    [
      "one URL for both listeners",
      { "admin-url": "http://127.0.0.1:7461" },
      /peer-url: is the same as admin-url/,
    ],
  ];
  test.each(cases)(
    "%s",
    async (_what, change, wanted) => {
      const file = cluster.path("node.yaml");
      const keys = { ...good, "data-dir": cluster.path("data"), ...change };
      writeFileSync(
        file,
        Object.entries(keys)
          .map(([key, value]) => `${key}: "${value}"\n`)
          .join(""),
      );
      const { code, stdout, stderr } = await muster(["server", "--config", file]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr.trimEnd().split("\n")).toEqual([expect.stringMatching(wanted)]);
      expect(stderr).toMatch(/^muster: /);
    },
    TIMEOUT_MS,
  );

  test(
    "the line names a flag or a variable in its own form",
    async () => {
      const file = cluster.path("good.yaml");
      const text = Object.entries({ ...good, "data-dir": cluster.path("data") });
      writeFileSync(file, text.map(([key, value]) => `${key}: "${value}"\n`).join(""));
      const words = ["server", "--config", file];
      const byFlag = await muster([...words, "--initial-cluster-state", "old"]);
      expect(byFlag).toMatchObject({ code: 2, stdout: "" });
      expect(byFlag.stderr).toMatch(/^muster: --initial-cluster-state: "old" is not one of new, existing\n$/);
      const byVariable = await muster(words, { env: { MUSTER_LOG_LEVEL: "loud" } });
      expect(byVariable).toMatchObject({ code: 2, stdout: "" });
      expect(byVariable.stderr).toMatch(/^muster: MUSTER_LOG_LEVEL: "loud" is not one of /);
      const noFile = await muster(["server", "--config", join(cluster.folder, "none.yaml")]);
      expect(noFile).toMatchObject({ code: 2, stdout: "" });
      expect(noFile.stderr.trimEnd().split("\n")).toHaveLength(1);
    },
    TIMEOUT_MS,
  );
});
