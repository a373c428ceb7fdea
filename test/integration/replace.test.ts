/**
 * ReplaceMember over the wire: side by side to the end whoever is replaced and whoever leads, in place after a lost disk, what
 * cancels it, and what is wrong with a call.
 */
import { TestCluster, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(90_000);

let cluster: TestCluster;
afterEach(() => cluster.stop());

const votersOf = (at: TestMember): string[] =>
  at.roster
    .members()
    .filter(({ learner }) => !learner)
    .map(({ name }) => name)
    .sort();

test("under constant writes a replacement comes to its end", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [old, other] = await cluster.followers();
  if (old === undefined || other === undefined) throw new Error("no followers");
  const joiner = await cluster.joiner("n4");
  let stopping = false;
  let writes = 0;
  const writers = Array.from({ length: 8 }, async (_, writer) => {
    for (let n = 0; !stopping; n++) {
      const adminUrls = [`http://10.0.${String(writer)}.${String(n & 255)}:1`];
      await (writer % 2 === 0 ? leader : other).updateAdminUrl({ name: other.name, adminUrls });
      writes++;
    }
  });
  await leader.replaceMember({ name: old.name, newName: "n4", peerUrl: joiner.config.peerUrl });
  await joiner.start();
  await until("n4 is ready", () => leader.roster.memberByName("n4")?.started === true);
  try {
    await until("the replacement is finished", () => votersOf(leader).includes("n4"), 20_000);
  } finally {
    stopping = true;
    await Promise.all(writers);
    console.log(writes);
  }
  expect(await old.ended()).toBe(8);
  cluster.forget(old);
});
