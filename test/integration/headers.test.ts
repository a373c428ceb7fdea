/** Large headers of one caller, forwarded to the leader: other callers' calls on the same connection go on. */
import { TestCluster, callUnary } from "./support/cluster";

jest.setTimeout(60_000);

let cluster: TestCluster | null = null;

afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

test.each([
  ["of others", (n: number) => `x-other-${String(n)}`],
  ["of our own", (n: number) => `muster-other-${String(n)}`],
  ["of trace context", (n: number) => (n === 0 ? "baggage" : `tracestate${n === 1 ? "" : String(n)}`)],
])("140 KB of headers %s break no connection and no call", async (_what, key) => {
  cluster = await TestCluster.start(3);
  await cluster.stable();
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("no follower");
  const metadata = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [key(n), "v".repeat(7000)]));
  const { client } = follower;
  const bad: Promise<unknown>[] = [];
  const innocent: Promise<unknown>[] = [];
  for (let i = 0; i < 30; i++) {
    const request = { name: "n1", adminUrls: [`http://127.0.0.1:${String(1 + i)}`] };
    innocent.push(follower.updateAdminUrl(request), follower.getCluster());
    bad.push(
      callUnary(client.getCluster.bind(client), { consistency: 0 }, { metadata }).catch(
        (error: unknown) => error,
      ),
    );
  }
  // Whatever becomes of the others, these are answered.
  await Promise.all(innocent);
  await Promise.all(bad);
  await follower.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:9"] });
});
