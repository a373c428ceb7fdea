/** The removal of a member of four while another one is down: it ends, though no majority of its roster is left to tell it. */
import { TestCluster } from "./support/cluster";

jest.setTimeout(60_000);

let cluster: TestCluster;
afterEach(() => cluster.stop());

test("a running member of four voters, of which one is down, ends when it is removed", async () => {
  cluster = await TestCluster.start(4);
  const leader = await cluster.stable();
  const [down, removed] = await cluster.followers();
  if (down === undefined || removed === undefined) throw new Error("no followers");
  await down.stop();
  await leader.deleteMember({ name: removed.name });
  expect(await removed.ended()).toBe(8);
});
