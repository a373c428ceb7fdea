/** Each start tells the cluster who the member is: until it has it, or refuses it for good. */
import { executePublish } from "../../src/cluster/moved_address";
import { RETRY, done, refusedBy } from "../../src/base/outcome";
import type { Outcome } from "../../src/base/outcome";
import { PublishRequest, RaftServiceService } from "../../src/generated/muster/raft/v1/raft_service";
import type { Reason } from "../../src/roster/index";
import { refusalError } from "../../src/rpc/rpc_error";
import { instanceId } from "../replica/support/first_log";
import { add, adminUrls, move, publish, remove } from "../roster/support/log";
import { DeterministicRandom } from "./support/deterministic_random";
import { ELECTION_TICKS, MemoryCluster, adminUrlOf } from "./support/memory_cluster";
import { callOf, why } from "./support/test_calls";
import { Tracked } from "./support/tracked";

const unpublished = (): Promise<MemoryCluster> => new MemoryCluster().startLedBy(1, false);
const RETRY_TICKS = 5;
const VERDICT_RETRY_TICKS = 100;

/** The requests that member `n` forwarded. */
function published(cluster: MemoryCluster, n: number): PublishRequest[] {
  return cluster.member(n).peers.calls.map(({ request: { path, body } }) => {
    expect(path).toBe(RaftServiceService.publish.path);
    return PublishRequest.decode(body);
  });
}

test.each([1, 2])("member %i counts as started once it has published", async (n) => {
  const cluster = await unpublished();
  const { publisher, log, rosterMachine } = cluster.member(n);
  expect(rosterMachine.roster.member(BigInt(n))?.started).toBe(false);
  publisher.start();
  await cluster.run(2);
  expect(rosterMachine.roster.member(BigInt(n))).toMatchObject({
    started: true,
    adminUrls: [adminUrlOf(n)],
    version: "1.0.0",
    instanceId: Buffer.from(instanceId(n)),
  });
  expect(log.texts).toContain("info published");
  expect(log.texts.some((text) => text.startsWith("warn"))).toBe(false);
});

test("a member that is not in its own roster yet waits until it is", async () => {
  const cluster = await unpublished();
  for (const n of [1, 2, 3]) await cluster.write(1, publish(n)).settled();
  await cluster.run(2 * ELECTION_TICKS);
  const joiner = cluster.join(4);
  joiner.publisher.start();
  await cluster.run(10 * ELECTION_TICKS);
  expect([joiner.peers.calls, joiner.log.texts]).toEqual([[], []]);
  await cluster.write(1, add(4)).settled();
  await cluster.run(RETRY_TICKS + 3);
  expect(cluster.member(1).rosterMachine.roster.member(4n)?.started).toBe(true);
});

test("it is repeated until the cluster has it, each time as another request", async () => {
  const cluster = await unpublished();
  const { peers, publisher, log } = cluster.member(2);
  peers.answer = () =>
    Promise.resolve(refusedBy(refusalError({ reason: "DISK_FULL", message: "full", metadata: {} })));
  publisher.start();
  await cluster.run(3 * RETRY_TICKS);
  const requests = published(cluster, 2);
  expect(requests.length).toBeGreaterThanOrEqual(3);
  expect(new Set(requests.map(({ requestId }) => requestId)).size).toBe(requests.length);
  expect(log.texts).toContain("info not published yet; trying again");
  peers.answer = null;
  await cluster.run(2 * RETRY_TICKS);
  expect(cluster.leader().rosterMachine.roster.member(2n)?.started).toBe(true);
  const { length } = peers.calls;
  await cluster.run(5 * RETRY_TICKS);
  expect(peers.calls).toHaveLength(length);
});

test("one attempt that is repeated keeps its request id", async () => {
  const cluster = await unpublished();
  const { peers, publisher } = cluster.member(2);
  peers.answer = () => Promise.resolve(RETRY);
  publisher.start();
  await cluster.run(3);
  peers.answer = () => Promise.resolve(done(Buffer.alloc(0)));
  await cluster.run(2);
  const requests = published(cluster, 2);
  expect(requests.length).toBeGreaterThan(2);
  expect(new Set(requests.map(({ requestId }) => requestId)).size).toBe(1);
  expect(requests[0]).toMatchObject({
    memberId: 2n,
    adminUrls: [adminUrlOf(2)],
    version: "1.0.0",
    clusterId: 0xc1n,
  });
});

test("the configuration wins over admin URLs that were set later, with a warning", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  await cluster.write(1, adminUrls({ id: 2n }, ["http://elsewhere:1"])).settled();
  await cluster.run(1);
  const { publisher, log, rosterMachine } = cluster.member(2);
  publisher.start();
  await cluster.run(2);
  expect(rosterMachine.roster.member(2n)?.adminUrls).toEqual([adminUrlOf(2)]);
  expect(log.lines.at(-1)).toMatchObject({
    level: "warn",
    fields: { was: "http://elsewhere:1", now: adminUrlOf(2) },
  });
});

describe("a refusal of this member itself", () => {
  test.each<Reason>(["MEMBER_WIPED", "MEMBER_REMOVED", "MEMBER_ROLLED_BACK"])(
    "%s is the leader's word, which ends nobody: tried again, ever so often",
    async (reason) => {
      const cluster = await unpublished();
      const { publisher, removed, refusals, ended, peers, log } = cluster.member(2);
      const refusal = refusalError({ reason, message: `it says ${reason}`, metadata: {} });
      peers.answer = () => Promise.resolve(refusedBy(refusal));
      publisher.start();
      await cluster.run(12 * VERDICT_RETRY_TICKS);
      expect([removed, refusals, ended]).toEqual([[], [], []]);
      expect(peers.calls.length).toBeGreaterThan(10);
      expect(peers.calls.length).toBeLessThanOrEqual(13);
      const said = log.texts.filter((text) => text.includes("refuses this one"));
      expect(said).toEqual([
        expect.stringContaining(`warn member n1 (1) refuses this one: it says ${reason}`),
      ]);
      peers.answer = null;
      await cluster.run(VERDICT_RETRY_TICKS + 2);
      expect(cluster.leader().rosterMachine.roster.member(2n)?.started).toBe(true);
    },
  );

  test("as removed ends it together with another voter's", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    const { publisher, removed } = cluster.member(3);
    cluster.network.passes = ({ to, from }) => to !== 3n && from !== 3n;
    await cluster.write(1, remove({ id: 3n })).settled();
    publisher.start();
    await cluster.run(2);
    expect(removed).toEqual([]);
    cluster.member(3).memoryTransport.events.onRefused(2n, "MEMBER_REMOVED", "gone");
    expect(removed).toEqual([expect.stringContaining("was permanently removed")]);
  });

  test("in its own log ends it", async () => {
    const cluster = await unpublished();
    const { ended } = cluster.member(2);
    await cluster.write(1, publish(2, 99)).settled();
    await cluster.run(1);
    expect(ended).toEqual([expect.stringContaining("MEMBER_WIPED: its own log says")]);
  });

  test.each<Reason>(["INTERNAL", "NO_QUORUM", "CLUSTER_ID_MISMATCH"])("%s is not", async (reason) => {
    const cluster = await unpublished();
    const { publisher, peers, refusals, removed } = cluster.member(2);
    peers.answer = () => Promise.resolve(refusedBy(refusalError({ reason, message: reason, metadata: {} })));
    publisher.start();
    await cluster.run(RETRY_TICKS + 2);
    expect(peers.calls.length).toBeGreaterThan(1);
    expect([refusals, removed]).toEqual([[], []]);
  });
});

describe("a publish that arrives again", () => {
  const configured = "http://10.0.0.2:7999";
  const setByOperator = "http://10.0.0.2:8000";

  /** A cluster whose leader takes publishes of one start of member 2, from another address than the roster has. */
  async function publishing() {
    const cluster = await new MemoryCluster().startLedBy(1);
    const { replica, writes, rosterMachine } = cluster.member(1);
    const source = { random: new DeterministicRandom(9), wallNow: () => 1_700_000_000_000 };
    const publishOnce = async (requestId: string): Promise<string> => {
      const request = PublishRequest.fromPartial({
        ...{ memberId: 2n, clusterId: replica.clusterId, requestId, peerUrl: configured, version: "1.0.0" },
        ...{
          instanceId: Buffer.from(instanceId(2)),
          adminUrls: [adminUrlOf(2)],
          bootId: Buffer.alloc(16, 3),
        },
      });
      const answer = executePublish(request, source, { replica, writes }, callOf(cluster.clock));
      const tracked = new Tracked(answer.then(() => "done", why));
      await cluster.run(3);
      return tracked.value ?? "open";
    };
    const moveByOperator = async (): Promise<void> => {
      const moved = cluster.write(1, move({ id: 2n }, setByOperator));
      await cluster.run(3);
      await moved.settled();
    };
    return { publishOnce, moveByOperator, urls: () => rosterMachine.roster.member(2n)?.peerUrls };
  }

  test("does not undo what was asked for since", async () => {
    const { publishOnce, moveByOperator, urls } = await publishing();
    expect([await publishOnce("first"), urls()]).toEqual(["done", [configured]]);
    await moveByOperator();
    expect([await publishOnce("first"), urls()]).toEqual(["REVISION_MISMATCH", [setByOperator]]);
  });

  test("nor does one that told nothing new, though another one after the change counts", async () => {
    const { publishOnce, moveByOperator, urls } = await publishing();
    expect(await publishOnce("first")).toBe("done");
    expect([await publishOnce("second"), urls()]).toEqual(["done", [configured]]);
    await moveByOperator();
    expect([await publishOnce("second"), urls()]).toEqual(["REVISION_MISMATCH", [setByOperator]]);
    expect([await publishOnce("third"), urls()]).toEqual(["done", [configured]]);
  });
});

test("an attempt that ends after the stop is not repeated, and no line says that it is", async () => {
  const cluster = await unpublished();
  const { publisher, peers, log } = cluster.member(2);
  let end = (_outcome: Outcome<Uint8Array>): void => undefined;
  peers.answer = () => new Promise((resolve) => (end = resolve));
  publisher.start();
  await cluster.run(1);
  publisher.stop();
  end(refusedBy(refusalError({ reason: "DISK_FULL", message: "full", metadata: {} })));
  await cluster.run(4 * RETRY_TICKS);
  expect(peers.calls).toHaveLength(1);
  expect(log.texts.filter((text) => text.includes("published"))).toEqual([]);
});

test("nothing is published after the stop, and no line says that it is tried again", async () => {
  const cluster = await unpublished();
  const { publisher, peers, log } = cluster.member(2);
  peers.answer = () =>
    Promise.resolve(refusedBy(refusalError({ reason: "DISK_FULL", message: "full", metadata: {} })));
  publisher.start();
  await cluster.run(1);
  const { timerCount } = cluster.clock;
  publisher.stop();
  expect(cluster.clock.timerCount).toBe(timerCount - 1);
  const { length } = peers.calls;
  const texts = log.texts.length;
  await cluster.run(4 * RETRY_TICKS);
  expect(peers.calls).toHaveLength(length);
  expect(log.texts).toHaveLength(texts);
  expect(log.lines.at(-1)?.text).toBe("stopped before it was published");
});
