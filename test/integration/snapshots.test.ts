/** Snapshots of running members: a stopped follower and a joining member catch up by one; a restart keeps everything. */
import { silentLog } from "../../src/base/log";
import { TestCluster, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(60_000);

const installed: string[] = [];
const saved: string[] = [];
let cluster: TestCluster;

beforeEach(async () => {
  installed.length = 0;
  saved.length = 0;
  cluster = await TestCluster.start(3, {
    deps: { snapshots: { everyEntries: 20, everyBytes: 1 << 30, keepEntries: 5 } },
    depsOf: (name) => ({
      log: {
        ...silentLog,
        info: (_fields, text) => {
          if (text === "installed a snapshot") installed.push(name);
          if (text === "saved a snapshot") saved.push(name);
        },
      },
    }),
  });
});
afterEach(() => cluster.stop());

async function manyWrites(at: TestMember, from: number): Promise<void> {
  for (let i = from; i < from + 60; i++) {
    await at.updateAdminUrl({
      name: "n1",
      adminUrls: [`http://127.0.0.1:${String(i)}`],
      requestId: `w${String(i)}`,
    });
  }
}

test("a follower that was stopped catches up by a snapshot, which contains the request memory", async () => {
  const leader = await cluster.stable();
  const [away, other] = await cluster.followers();
  if (away === undefined || other === undefined) throw new Error("no followers");
  await away.stop();
  await manyWrites(leader, 1);
  expect(saved.filter((name) => name === leader.name).length).toBeGreaterThan(1);
  await away.start();
  await cluster.settled();
  expect(installed).toEqual([away.name]);
  await cluster.agreed();
  // With the snapshot it can be leader: repeated requests are recognised, and changes go on.
  await until("it is in contact", async () => (await leader.getCluster()).failuresTolerated === 1);
  leader.replica.transferLeader(away.replica.id);
  await until("it leads", () => away.replica.isLeader);
  await cluster.leader();
  const before = (await away.getMembers()).header?.revision;
  const again = await away.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:7"], requestId: "w7" });
  expect(again.member?.adminUrls).toEqual(["http://127.0.0.1:7"]);
  expect(again.header?.revision).toBeLessThan(before ?? 0n);
  await away.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:5000"] });
});

test("a joining member starts from a snapshot", async () => {
  const leader = await cluster.stable();
  await manyWrites(leader, 1);
  const joiner = await cluster.joiner("n4");
  await leader.addMember({ name: "n4", peerUrl: joiner.config.peerUrl });
  await joiner.start();
  await cluster.voting();
  expect(installed).toEqual(["n4"]);
  await cluster.agreed();
  const { members } = await joiner.getMembers();
  expect(members).toHaveLength(4);
});

test("a restart from snapshot and log keeps everything, one member after the other and all at once", async () => {
  const leader = await cluster.stable();
  const added = await leader.addMember({ name: "gone", peerUrl: "http://127.0.0.1:1" });
  await leader.deleteMember({ name: "gone" });
  await manyWrites(leader, 1);
  // Otherwise the publish at its restart would undo the changes of the writes.
  await leader.updateAdminUrl({ name: "n1", adminUrls: [cluster.member("n1").config.adminUrl] });
  const before = await leader.getMembers();
  for (const member of cluster.members) {
    await member.stop();
    await cluster.leader();
    await member.start();
    await cluster.settled();
  }
  await Promise.all(cluster.members.map((member) => member.stop()));
  await Promise.all(cluster.members.map((member) => member.start()));
  await cluster.settled();
  const id = BigInt(`0x${added.member?.id ?? ""}`);
  for (const member of cluster.members) {
    const after = await member.getMembers();
    expect(after.members).toEqual(before.members);
    expect(after.header?.revision).toBe(before.header?.revision);
    expect(member.roster.tombstone(id)?.name).toBe("gone");
    const again = await member.updateAdminUrl({
      name: "n1",
      adminUrls: ["http://127.0.0.1:3"],
      requestId: "w3",
    });
    expect(again.header?.revision).toBeLessThan(before.header?.revision ?? 0n);
  }
  await cluster.agreed();
});
