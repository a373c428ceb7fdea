/** A broken invariant ends the member by onFatal, wherever it shows: nothing reaches the process as an uncaught error. */
import { add } from "../roster/support/log";
import { ELECTION_TICKS, MemoryCluster } from "./support/memory_cluster";

const BROKEN = new Error("an invariant is broken");

function broken(): never {
  throw BROKEN;
}

let cluster: MemoryCluster;
beforeEach(async () => {
  cluster = await new MemoryCluster({ snapshots: { everyEntries: 40 } }).startLedBy(1);
});

function expectEnded(): void {
  expect(cluster.member(1).fatal).toEqual([BROKEN]);
  expect(cluster.member(1).replica.isLeader && cluster.member(1).memoryTransport.stopped).toBe(false);
}

describe("in the queue of changes", () => {
  /** Two changes wait without a quorum; looking at the second one fails. */
  async function twoWait(timeoutMs: number) {
    cluster.network.isolate(2n);
    cluster.network.isolate(3n);
    const first = cluster.write(1, add(4), { timeoutMs });
    const second = cluster.write(1, add(5));
    await cluster.settle();
    expect(second.tracked.state).toBe("open");
    cluster.member(1).rosterMachine.roster.evaluate = broken;
    return first;
  }

  test("when the deadline of the change before passes", async () => {
    await twoWait(50);
    cluster.clock.advance(50);
    await cluster.settle();
    expectEnded();
  });

  test("when the caller of the change before goes away", async () => {
    const { call } = await twoWait(10_000);
    call.cancel();
    expectEnded();
  });
});

test("in a tick", async () => {
  cluster.member(1).replica.listen({ onTick: broken });
  await cluster.run(1);
  expectEnded();
});

test("in what settles a proposal", async () => {
  cluster.member(1).replica.propose({ id: 77n, data: new Uint8Array(0), settle: broken });
  // An entry without a command settles nothing by its id; another one at its index does.
  cluster.member(1).replica.stop();
  expect(cluster.member(1).log.texts).toContain("error an error while the member ends");
});

test("when a snapshot was saved", async () => {
  const { log, storage, replica } = cluster.member(1);
  const info = log.info.bind(log);
  log.info = (fields, text) => (text === "saved a snapshot" ? broken() : info(fields, text));
  for (let i = 0; i < 60 && storage.snapshotsSaved === 0; i++) {
    replica.propose({ id: BigInt(1000 + i), data: new Uint8Array(0), settle: () => undefined });
    await cluster.settle();
  }
  expectEnded();
});

test("when a stream comes from a member that is not in the roster", async () => {
  const { replica, transport } = cluster.member(1);
  transport.setPeers = broken;
  replica.addProvisionalPeer({ id: 99n, peerUrls: ["http://h:1"] });
  expectEnded();
  await cluster.run(ELECTION_TICKS);
});
