/**
 * The strict check in a running cluster: a voter's new URL is asked for before it is taken, a successor that dies during
 * the handover counts no longer, and a change that waits does not hold up the others for ever.
 */
import { HelloResponse } from "../../src/generated/muster/raft/v1/raft_service";
import { MessageType } from "../../src/raft/index";
import { COMMAND_BYTES_MAX } from "../../src/roster/index";
import type { RosterCommand } from "../../src/roster/index";
import { add, adminUrls, move, publish, remove } from "../roster/support/log";
import { ELECTION_TICKS, MemoryCluster } from "./support/memory_cluster";
import { why } from "./support/test_calls";

function change(cluster: MemoryCluster, command: RosterCommand, timeoutMs = 60_000) {
  const { tracked, call } = cluster.write(1, command, { timeoutMs });
  const shows = (): string => (tracked.state === "failed" ? why(tracked.error) : tracked.state);
  return { tracked, call, shows };
}

const healthy = (size: number): Promise<MemoryCluster> => new MemoryCluster({ size }).startLedBy(1);
const names = (cluster: MemoryCluster): string =>
  cluster
    .roster()
    .map(({ name }) => name)
    .join(" ");
const urlsOf = (cluster: MemoryCluster, n: number): readonly string[] | undefined =>
  cluster.roster().find(({ id }) => id === BigInt(n))?.peerUrls;

const NOWHERE = "http://192.0.2.1:7461";

describe("a voter's new peer URL", () => {
  test("one after the other, two voters of three can't be moved to where nobody is", async () => {
    const cluster = await healthy(3);
    for (const id of [2n, 3n]) {
      const moves = change(cluster, move({ id }, NOWHERE));
      await cluster.run(3);
      expect(moves.shows()).toBe("UNHEALTHY_CLUSTER");
    }
    expect(urlsOf(cluster, 2)).toEqual(["http://10.0.0.2:7461"]);
    expect(cluster.member(1).peers.asked.map(({ url }) => url)).toEqual([NOWHERE, NOWHERE]);
  });

  test("nor to another member's machine", async () => {
    const cluster = await healthy(3);
    const moves = change(cluster, move({ id: 2n }, "http://10.0.0.3:9000"));
    await cluster.run(3);
    expect(moves.tracked.error).toMatchObject({
      refusal: {
        reason: "UNHEALTHY_CLUSTER",
        message: expect.stringContaining("another member, n3 (3),") as string,
      },
    });
  });

  test("of a dead member may be anything, and is put right when the member answers there", async () => {
    const cluster = await healthy(3);
    cluster.network.isolate(3n);
    cluster.deaf.add(3);
    await cluster.run(ELECTION_TICKS + 1);
    const wrong = change(cluster, move({ id: 3n }, NOWHERE));
    await cluster.run(3);
    expect(wrong.shows()).toBe("done");
    cluster.network.heal();
    cluster.deaf.delete(3);
    const undo = change(cluster, move({ id: 3n }, "http://10.0.0.3:7461"));
    await cluster.run(3);
    expect(undo.shows()).toBe("done");
    expect(urlsOf(cluster, 3)).toEqual(["http://10.0.0.3:7461"]);
  });

  test("is asked for again when the answer is old by the time it could be proposed", async () => {
    const cluster = await healthy(3);
    const { peers, replica } = cluster.member(1);
    const { proposeConfChange } = replica;
    replica.proposeConfChange = () => ({ ok: false, reason: "uncommitted-size" });
    const moves = change(cluster, move({ id: 2n }, "http://10.0.0.2:9000"));
    await cluster.run(3);
    expect(peers.asked).toHaveLength(1);
    // The member dies while its move waits for room in the log.
    cluster.deaf.add(2);
    cluster.network.isolate(2n);
    await cluster.run(ELECTION_TICKS + 2);
    replica.proposeConfChange = proposeConfChange;
    await cluster.run(2);
    expect(peers.asked.length).toBeGreaterThan(1);
    // It is away by now, so that its URL does no more harm.
    expect(moves.shows()).toBe("done");
  });

  test("what answers there may say anything: the refusal stays short and printable", async () => {
    const cluster = await healthy(3);
    const said = {
      name: "\n\u0000".repeat(100_000),
      memberId: 9n,
      clusterId: 0xc1n,
      peerUrl: "x".repeat(100_000),
    };
    const bytes = HelloResponse.encode(HelloResponse.fromPartial(said)).finish();
    cluster.member(1).peers.hello = () => Promise.resolve(bytes);
    const moves = change(cluster, move({ id: 2n }, NOWHERE));
    await cluster.run(3);
    expect(moves.shows()).toBe("UNHEALTHY_CLUSTER");
    expect((moves.tracked.error as Error).message).toMatch(/^[\x20-\x7e]{1,400}$/);
  });

  test.each<[string, () => Promise<Uint8Array | null>]>([
    ["throws", () => Promise.reject(new Error("lost"))],
    [
      "throws before it is under way",
      () => {
        throw new Error("can't be dialled");
      },
    ],
    ["is answered with no message", () => Promise.resolve(Uint8Array.of(255, 255))],
  ])("a question that %s is no answer, and ends nobody", async (_what, hello) => {
    const cluster = await healthy(3);
    cluster.member(1).peers.hello = hello;
    const moves = change(cluster, move({ id: 2n }, NOWHERE));
    await cluster.run(3);
    expect(moves.shows()).toBe("UNHEALTHY_CLUSTER");
    expect(cluster.member(1).fatal).toEqual([]);
  });
});

describe("removing the leader, when the successor dies during the handover", () => {
  test.each([0, 5, 9])("%i ticks after it began: the removal is refused", async (ticks) => {
    const cluster = await healthy(3);
    const taken: bigint[] = [];
    cluster.network.passes = ({ type, to }) => {
      if (type === MessageType.TimeoutNow) taken.push(to);
      return type !== MessageType.TimeoutNow;
    };
    const removal = change(cluster, remove({ id: 1n }));
    await cluster.run(1 + ticks);
    const [successor] = taken;
    if (successor === undefined) throw new Error("no handover began");
    const { passes } = cluster.network;
    cluster.network.passes = (message) =>
      passes(message) && message.to !== successor && message.from !== successor;
    await cluster.run(4 * ELECTION_TICKS);
    expect(removal.shows()).toBe("UNHEALTHY_CLUSTER");
    expect(removal.tracked.error).toMatchObject({
      refusal: { metadata: { blocking_names: `n${String(successor)}` } },
    });
    expect(names(cluster)).toBe("n1 n2 n3");
    expect(cluster.leader().n).toBe(1);
  });

  test.each([1, 5, 9])("the last one that is tried, %i ticks after it began: the same", async (ticks) => {
    const cluster = await healthy(3);
    const taken: bigint[] = [];
    cluster.network.passes = ({ type, to }) => {
      if (type === MessageType.TimeoutNow && !taken.includes(to)) taken.push(to);
      return type !== MessageType.TimeoutNow;
    };
    const removal = change(cluster, remove({ id: 1n }));
    for (let i = 0; taken.length < 2; i++) {
      if (i > 4 * ELECTION_TICKS) throw new Error("the second one is never tried");
      await cluster.run(1);
    }
    await cluster.run(ticks);
    const last = taken[1];
    const { passes } = cluster.network;
    cluster.network.passes = (message) => passes(message) && message.to !== last && message.from !== last;
    await cluster.run(4 * ELECTION_TICKS);
    expect(removal.shows()).toBe("UNHEALTHY_CLUSTER");
    expect(names(cluster)).toBe("n1 n2 n3");
  });

  test("the next best takes over", async () => {
    const cluster = await healthy(5);
    const taken: bigint[] = [];
    cluster.network.passes = ({ type, to }) => {
      if (type === MessageType.TimeoutNow && !taken.includes(to)) taken.push(to);
      return type !== MessageType.TimeoutNow || to !== taken[0];
    };
    const removal = change(cluster, remove({ id: 1n }));
    await cluster.run(5 * ELECTION_TICKS);
    expect(removal.shows()).toBe("done");
    expect(taken).toHaveLength(2);
    expect(BigInt(cluster.leader().n)).toBe(taken[1]);
  });
});

describe("a change that waits", () => {
  test("for a member that does not publish holds up the others for five election timeouts at most", async () => {
    const cluster = await new MemoryCluster().startLedBy(1, false);
    await cluster.write(1, publish(1)).settled();
    const adds = change(cluster, add(4), 24 * 3600 * 1000);
    const behind = change(cluster, remove({ name: "nobody" }));
    await cluster.run(5 * ELECTION_TICKS - 3);
    expect([adds.shows(), behind.shows()]).toEqual(["open", "open"]);
    await cluster.run(5);
    expect([adds.shows(), behind.shows()]).toEqual(["NOT_ENOUGH_STARTED_MEMBERS", "MEMBER_NOT_FOUND"]);
    expect(adds.tracked.error).toMatchObject({
      retryDelayMs: 2000,
      refusal: { metadata: { blocking_names: "n2,n3" } },
    });
  });
});

describe("what is too long for one entry", () => {
  const long = Array.from({ length: 200 }, (_, i) =>
    `http://${"a".repeat(60)}.${"b".repeat(60)}.${i}x:1`.padEnd(400, "1"),
  );
  test.each([
    ["a publish", publish(2, 2, [...long, ...long])],
    ["admin URLs", adminUrls({ id: 2n }, [...long, ...long])],
    ["a membership change", add(4, { adminUrls: [...long, ...long] })],
  ])("%s is refused before it is proposed", async (_what, command) => {
    const cluster = await healthy(3);
    const { lastIndex } = cluster.member(1).replica;
    const sent = cluster.write(2, command);
    await cluster.run(3);
    expect(sent.tracked.error).toMatchObject({ reason: "INVALID_REQUEST" });
    expect(String(sent.tracked.error)).toContain(`at most ${COMMAND_BYTES_MAX} can be proposed`);
    expect(cluster.member(1).replica.lastIndex).toBe(lastIndex);
    await cluster.write(2, publish(2, 2, ["http://10.0.0.2:1"])).settled();
  });
});

test("the in-memory Hello says what a member's own does", async () => {
  const cluster = await healthy(1);
  const hello = HelloResponse.decode(cluster.helloAt("http://10.0.0.1:5") ?? new Uint8Array());
  expect(hello).toMatchObject({ name: "n1", memberId: 1n, peerUrl: "http://10.0.0.1:7461" });
});
