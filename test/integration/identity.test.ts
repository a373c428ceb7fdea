/** The identity of a data directory, with real members and files: older copies, and copies in use, end and say why. */
import { rmSync } from "node:fs";
import { silentLog } from "../../src/base/log";
import type { Log } from "../../src/base/log";
import { copyDataDir } from "../storage/support/copy_data_dir";
import { TestCluster, freePorts, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(60_000);

let cluster: TestCluster;
const errors = new Map<string, string[]>();
/** Members that said that a second process connects as a member. */
const warned = new Set<string>();
const logOf = (name: string): Log => ({
  ...silentLog,
  warn: (_fields, text) => {
    if (text.startsWith("a second process connects")) warned.add(name);
  },
  error: (_fields, text) => {
    errors.set(name, [...(errors.get(name) ?? []), text]);
  },
});

beforeEach(async () => {
  errors.clear();
  warned.clear();
  cluster = await TestCluster.start(3, { depsOf: (name) => ({ log: logOf(name) }) });
});
afterEach(() => cluster.stop());

const published = async (member: TestMember, bootRevisionAbove: number): Promise<number> => {
  const revision = (): number => member.roster.member(member.replica.id)?.bootRevision ?? 0;
  await until("the start is published", () => revision() > bootRevisionAbove);
  return revision();
};

test("a restart is published, and leaves the roster's revision as it is", async () => {
  const [, , n3] = cluster.members as [TestMember, TestMember, TestMember];
  const before = await published(n3, 0);
  await cluster.agreed();
  const { revision } = n3.roster;
  await n3.stop();
  await n3.start();
  await published(n3, before);
  await cluster.agreed();
  expect(n3.roster.revision).toBe(revision);
});

test("an older copy of a data directory, put back, ends with exit code 9 and says why", async () => {
  const n3 = cluster.member("n3");
  let revision = await published(n3, 0);
  await n3.stop();
  const copy = `${n3.config.dataDir}.copy`;
  copyDataDir(n3.config.dataDir, copy);
  await n3.start();
  revision = await published(n3, revision);
  await until("the others have applied it", () =>
    cluster.running.every(({ roster, replica }) => replica.applied >= revision && roster.revision > 0),
  );
  await n3.stop();
  rmSync(n3.config.dataDir, { recursive: true });
  copyDataDir(copy, n3.config.dataDir);
  await n3.start();
  expect([await n3.ended(), errors.get("n3")?.join()]).toEqual([
    9,
    expect.stringMatching(/older copy of its data directory|this data directory is an older copy/),
  ]);
  await n3.start().then(
    async () => expect(await n3.ended()).toBe(9),
    () => undefined,
  );
});

test("a copy that is older than the last start of the original ends, and the original goes on", async () => {
  const n3 = cluster.member("n3");
  const revision = await published(n3, 0);
  await n3.stop();
  const dataDir = `${n3.config.dataDir}.twin`;
  copyDataDir(n3.config.dataDir, dataDir);
  await n3.start();
  const original = await published(n3, revision);
  const [admin, peer] = await freePorts(2);
  const twin = await cluster.joiner("twin");
  await twin.start({
    ...n3.config,
    dataDir,
    adminUrl: `http://127.0.0.1:${String(admin)}`,
    peerUrl: `http://127.0.0.1:${String(peer)}`,
  });
  expect([await twin.ended(), errors.get("twin")?.length]).toEqual([9, 1]);
  cluster.forget(twin);
  await cluster.agreed();
  expect(n3.roster.member(n3.replica.id)?.bootRevision).toBe(original);
});

test("a copy in use waits while the original runs, takes its place when that stops, and then the original ends", async () => {
  // Not the leader: when that stops the others are in another term, and the copy, which never was, is refused for it.
  const [n3, other] = (await cluster.followers()) as [TestMember, TestMember];
  const leader = await cluster.leader();
  const { name } = n3;
  const original = await published(n3, 0);
  // The file by which a start knows of its own publish is written a moment later.
  await n3.running.cluster.boots?.settled();
  const dataDir = `${n3.config.dataDir}.twin`;
  copyDataDir(n3.config.dataDir, dataDir);
  const [admin, peer] = await freePorts(2);
  const peerUrl = `http://127.0.0.1:${String(peer)}`;
  const twin = await cluster.joiner("twin");
  await twin.start({ ...n3.config, dataDir, adminUrl: `http://127.0.0.1:${String(admin)}`, peerUrl });
  cluster.members.pop();
  await until("both others say that a second process connects", () => warned.size === 2);
  expect([twin.replica.leader, n3.replica.leader === 0n]).toEqual([0n, false]);
  await n3.stop();
  await until("the copy is published, and the roster follows its address", () => {
    const record = leader.roster.member(twin.replica.id);
    return (record?.bootRevision ?? 0) > original && record?.peerUrls.join() === peerUrl;
  });
  await until("all others have applied it", () => {
    const [a, b] = [leader.replica, other.replica];
    return a.applied === b.applied;
  });
  await n3.start();
  expect([await n3.ended(), errors.get(name)?.length]).toEqual([9, 1]);
  expect(twin.running.phase).toBe("running");
  await twin.stop();
});
