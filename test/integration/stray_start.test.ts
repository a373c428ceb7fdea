/** A member of another cluster at a member's address: it keeps no majority of intact members from starting. */
import { silentLog } from "../../src/base/log";
import { TestCluster } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(60_000);

let cluster: TestCluster;
const warned: string[] = [];
const log = { ...silentLog, warn: (_fields: unknown, text: string) => void warned.push(text) };
afterEach(() => cluster.stop());

test("two of three start, while a stray member of another cluster has the third one's address", async () => {
  cluster = await TestCluster.start(3, { depsOf: () => ({ log }) });
  const other = await TestCluster.start(1);
  try {
    const [stray] = other.members as [TestMember];
    const [n1, n2, n3] = cluster.members as [TestMember, TestMember, TestMember];
    await other.leader();
    await stray.stop();
    for (const member of [n1, n2, n3]) await member.stop();
    const { peerUrl } = n3.config;
    await stray.start({ peerUrl, initialCluster: [{ name: stray.name, peerUrl }] });
    await other.leader();
    // One after the other: the first one finds nobody but the stray one.
    await n1.start();
    await n2.start();
    const leader = await cluster.leader();
    await leader.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:5"] });
    expect(warned.join()).toContain("a member of another cluster answers at this address of initial-cluster");
    await stray.stop();
    await n3.start();
    await cluster.settled();
  } finally {
    await other.stop();
  }
});
