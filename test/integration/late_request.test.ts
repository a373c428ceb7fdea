/**
 * A client's first attempt hangs in a connection that died, its second one is refused; then the first one arrives. What the
 * client was told must stay true.
 */
import { MusterClient, MusterError } from "../../src/client";
import { TestCluster, until } from "./support/cluster";
import { StallingProxy } from "./support/stalling_proxy";

jest.setTimeout(60_000);

const endpointOf = (adminUrl: string): string => new URL(adminUrl).host;

test("a removal that was refused is not done when its first attempt arrives late", async () => {
  const cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [target, dead] = await cluster.followers();
  if (target === undefined || dead === undefined) throw new Error("no followers");
  const proxy = await StallingProxy.listen(endpointOf(leader.config.adminUrl));
  const client = new MusterClient({
    endpoints: [proxy.endpoint, endpointOf(target.config.adminUrl)],
    timeoutMs: 30_000,
    channelOptions: { "grpc.keepalive_time_ms": 500, "grpc.keepalive_timeout_ms": 300 },
  });
  try {
    await client.getMembers();
    const { id } = dead.replica;
    await dead.stop();
    const { contacts } = leader.replica;
    await until("the leader misses the member that stopped", () => {
      return contacts.inContactTicks(id, leader.replica.ticks) === null;
    });

    proxy.hold();
    const removal = { name: target.name, requestId: "late" };
    const refusal = await client.deleteMember(removal).then(
      () => null,
      (error: unknown) => error,
    );
    expect(refusal).toBeInstanceOf(MusterError);
    expect(refusal).toMatchObject({ reason: "UNHEALTHY_CLUSTER" });
    expect(proxy.heldBytes).toBeGreaterThan(0);

    await dead.start();
    await cluster.stable();
    proxy.release();
    await until("the late attempt is answered", () => proxy.answeredBytes > 0);
    await cluster.agreed();
    const { members } = await leader.getMembers();
    expect(members.map(({ name }) => name)).toContain(target.name);
    // Under another request id it is another removal.
    const { member } = await client.deleteMember({ name: target.name });
    expect(member?.name).toBe(target.name);
  } finally {
    client.close();
    await proxy.close();
    await cluster.stop();
  }
});
