/** The first start of a cluster: nobody goes ahead of the others, and nobody who has started before starts anew. */
import { existsSync, rmSync } from "node:fs";
import { silentLog } from "../../src/base/log";
import type { Log } from "../../src/base/log";
import { StartRefusedError } from "../../src/server/errors";
import { Member } from "../../src/server/member";
import { TestCluster, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(60_000);

let cluster: TestCluster;
const waits: string[] = [];
const refusals: string[] = [];
const log: Log = {
  ...silentLog,
  debug: (fields, text) => {
    if (text === "refused") refusals.push(String(fields["rpc"]));
  },
  info: (fields, text) => {
    if (text.startsWith("waits for the other members")) waits.push(String(fields["waits_for"]));
  },
};

beforeEach(async () => {
  waits.length = 0;
  refusals.length = 0;
  cluster = await TestCluster.prepare(3, { depsOf: (name) => (name === "n1" ? { log } : {}) });
});
afterEach(() => cluster.stop());

const three = () => cluster.members as [TestMember, TestMember, TestMember];

async function refusal(start: Promise<void>): Promise<string> {
  const error: unknown = await start.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StartRefusedError);
  return (error as Error).message;
}

test("no data directory is made before every initial member is there, and it is said for whom it waits", async () => {
  const [n1, n2, n3] = three();
  const started = [n1.start(), n2.start()];
  const last = `n3 (${n3.config.peerUrl})`;
  await until("n1 waits for n3 alone", () => waits.at(-1) === last);
  expect([existsSync(n1.config.dataDir), existsSync(n2.config.dataDir)]).toEqual([false, false]);
  await Promise.all([...started, n3.start()]);
  await cluster.settled();
  // Who waits is asked who it is, not for a roster that it does not have yet.
  expect(refusals).not.toContain("GetMembers");
});

test("a member that lost its disk right after its first start is refused by whom it met, whoever is down", async () => {
  const [n1, n2, n3] = three();
  await Promise.all([n1, n2, n3].map((member) => member.start()));
  await cluster.settled();
  await n1.stop();
  await n2.wipe();
  expect(await refusal(n2.start())).toMatch(
    /n2 \([0-9a-f]+\) has started before, but this data directory is empty/,
  );
});

test("that a member was met survives a restart of the others", async () => {
  const [n1, n2, n3] = three();
  await Promise.all([n1, n2, n3].map((member) => member.start()));
  await cluster.settled();
  await n2.wipe();
  await n1.stop();
  await n3.stop();
  await n3.start();
  expect(await refusal(n2.start())).toContain("has started before");
});

test("a joiner that lost its disk before it was published is refused by whom it met", async () => {
  const [n1, n2, n3] = three();
  await Promise.all([n1, n2, n3].map((member) => member.start()));
  const leader = await cluster.stable();
  const n4 = await cluster.joiner("n4");
  await leader.addMember({ name: "n4", peerUrl: n4.config.peerUrl }, { timeoutMs: 20_000 });
  await n4.start();
  const { id } = n4.replica;
  // It ends as soon as somebody took a message of it; whether it was published by then does not matter.
  await until("the leader has met it", () =>
    leader.running.cluster.instances.metAnother(id, new Uint8Array(16)),
  );
  await n4.stop();
  rmSync(n4.config.dataDir, { recursive: true });
  expect(await refusal(n4.start())).toContain("has started before");
});

test("of members that are configured for different clusters, the first that hears of it ends and says so", async () => {
  const [n1, n2] = three();
  const of = ({ config }: TestMember, initialClusterToken: string): Member =>
    new Member({ ...config, initialClusterToken }, { log: silentLog });
  const members = [of(n1, "one"), of(n2, "two")];
  const starts = members.map((member) => refusal(member.start()));
  expect(await Promise.race(starts)).toContain("belongs to another cluster");
  // The other one heard the same, or waits for the first one.
  await Promise.all(members.map((member) => member.stop()));
  for (const start of starts)
    expect(await start).toMatch(/belongs to another cluster|stopped before the cluster was formed/);
});
