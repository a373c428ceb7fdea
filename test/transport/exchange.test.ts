/** Streams between members over real connections: delivery, refusal, reconnecting, bounds. Time is moved by hand. */
import type { ExchangeRequest } from "../../src/generated/muster/raft/v1/raft_service";
import { MessageType } from "../../src/raft/index";
import type { ExchangeCall } from "../../src/transport/exchange_acceptor";
import { WIRE_VERSION } from "../../src/transport/handshake";
import { refusalError } from "../../src/rpc/rpc_error";
import type { Dial } from "../../src/transport/dial";
import { dial } from "../../src/transport/dial";
import { CLUSTER_ID, Members, append, entry, message, settle, until } from "./kit";
import type { Receiver } from "./kit";

jest.setTimeout(20_000);

const members = new Members();

afterEach(() => members.stopAll());

const removed = refusalError({
  reason: "MEMBER_REMOVED",
  message: "member 1 was permanently removed",
  metadata: { id: "1" },
});

describe("two members", () => {
  test("exchange batches in both directions, whole and in order", async () => {
    const [one, two] = [await members.receiver(1n), await members.receiver(2n)];
    const [from1, from2] = [members.sender(1n), members.sender(2n)];
    from1.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    from2.transport.setPeers([{ id: 1n, peerUrls: [one.url] }]);
    const sent = [message({ commit: 3 }), append(1000), append(0, { commit: 9 })];
    from1.transport.send(sent);
    const answer = message({ type: MessageType.HeartbeatResponse, from: 2n, to: 1n, context: 77n });
    from2.transport.send([answer]);
    await until(() => two.messages.length === 3 && one.messages.length === 1);
    expect(two.messages.map((m) => [m.type, m.commit, m.entries[0]?.data.length])).toEqual([
      [MessageType.Heartbeat, 3, undefined],
      [MessageType.Append, 0, 1000],
      [MessageType.Append, 9, 0],
    ]);
    expect(one.messages).toEqual([answer]);
    expect(two.batchLengths).toEqual([3]);
    expect([two.accepted, two.garbage, from1.unreachable, from1.refused]).toEqual([[1n], [], [], []]);
  });

  test("many turns keep their order, and all that waits drains", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    for (let i = 1; i <= 2000; i++) {
      one.transport.send([message({ commit: i })]);
      if (i % 50 === 0) await settle(1);
    }
    await until(() => two.messages.length === 2000);
    expect(two.messages.map((m) => m.commit)).toEqual(Array.from({ length: 2000 }, (_, i) => i + 1));
    await until(() => one.transport.stats(2n)?.pendingMessages === 0);
    expect(one.transport.stats(2n)).toMatchObject({
      pendingBytes: 0,
      sentMessages: 2000,
      droppedMessages: 0,
    });
  });

  test("a batch larger than one request is split, a message larger than one request is lost and reported", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n, { maxMessageBytes: 100_000 });
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([append(60_000), append(60_000), append(200_000), append(60_000)]);
    await until(() => two.messages.length === 3);
    expect(two.batchLengths).toEqual([1, 1, 1]);
    expect(one.unreachable).toEqual([2n]);
    expect(one.warnings).toContain("message too large to be sent");
  });

  test("messages to itself, to an unknown id or of local types go nowhere and harm nothing", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([
      { id: 1n, peerUrls: [two.url] },
      { id: 2n, peerUrls: [two.url] },
      { id: 3n, peerUrls: [] },
    ]);
    expect([one.state(1n), one.state(3n)]).toEqual(["none", "none"]);
    const local = message({ type: MessageType.Propose, entries: [entry(1, 1)] });
    one.transport.send([message({ to: 1n }), message({ to: 9n }), local, message({ commit: 1 })]);
    await until(() => two.messages.length > 0);
    expect(two.messages.map((m) => m.commit)).toEqual([1]);
    expect(two.garbage).toEqual([]);
  });
});

describe("a refused stream", () => {
  test.each(["MEMBER_REMOVED", "MEMBER_WIPED", "CLUSTER_ID_MISMATCH"] as const)(
    "is reported with its reason: %s",
    async (reason) => {
      const refusal = refusalError({ reason, message: `member 1: ${reason}`, metadata: { id: "1" } });
      const two = await members.receiver(2n);
      two.check = (handshake) => (handshake.clusterId === CLUSTER_ID ? refusal : null);
      const one = members.sender(1n);
      one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
      one.transport.send([message({})]);
      await until(() => one.refused.length > 0);
      expect(one.refused).toEqual([{ id: 2n, reason, text: refusal.message }]);
      expect([one.unreachable, two.messages, two.closed]).toEqual([[2n], [], [0n]]);
    },
  );

  test("is tried again once a second, and opens when the receiver lets it in", async () => {
    const two = await members.receiver(2n);
    two.check = () => removed;
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    await until(() => one.refused.length === 1);
    one.clock.advance(999);
    expect(one.transport.stats(2n)).toMatchObject({ state: "waiting", attempts: 1 });
    one.clock.advance(1);
    await until(() => one.refused.length === 2);
    two.check = () => null;
    one.clock.advance(1000);
    await until(() => one.state(2n) === "open");
    one.transport.send([message({})]);
    await until(() => two.messages.length === 1);
    expect(one.transport.stats(2n)).toMatchObject({ attempts: 3, accepted: 1 });
  });

  test("for the wrong member names both ids", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 3n, peerUrls: [two.url] }]);
    await until(() => one.refused.length > 0);
    expect(one.refused[0]).toMatchObject({ id: 3n, reason: "MEMBER_MISMATCH" });
  });

  test("may be refused later: the receiver ends an open stream with a reason", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    await until(() => one.state(2n) === "open");
    expect(two.handles[0]?.from).toBe(1n);
    two.expel(1n, removed);
    await until(() => one.refused.length > 0);
    expect(one.refused[0]?.reason).toBe("MEMBER_REMOVED");
    expect(two.closed).toEqual([1n]);
  });

  test("by a stopping server is no refusal: the member is tried again soon", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    await until(() => one.state(2n) === "open");
    two.expel(1n, refusalError({ reason: "SERVER_STOPPING", message: "it stops", metadata: {} }));
    await until(() => one.state(2n) === "waiting");
    one.clock.advance(100);
    await until(() => one.state(2n) === "open");
    expect(one.refused).toEqual([]);
    expect(one.transport.stats(2n)?.attempts).toBe(2);
  });
});

describe("reconnecting", () => {
  test("after the peer restarted on the same port", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([message({ commit: 1 })]);
    await until(() => two.messages.length === 1);
    await two.stop();
    await until(() => one.state(2n) === "waiting");
    expect(one.unreachable).toEqual([2n]);
    one.transport.send([message({ commit: 2 })]);
    await two.start();
    await one.untilRetried(() => one.state(2n) === "open");
    one.transport.send([message({ commit: 3 })]);
    await until(() => two.messages.length === 2);
    // What was sent while the peer was away is lost, not delivered late.
    expect(two.messages.map((m) => m.commit)).toEqual([1, 3]);
  });

  test("pauses from 100 ms to 1 s while nobody listens", async () => {
    const two = await members.receiver(2n);
    await two.stop();
    const one = members.sender(1n, { random: { below: (n) => n - 1 } });
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 6; attempt++) {
      await until(() => one.state(2n) === "waiting");
      const before = one.clock.now();
      while (one.transport.stats(2n)?.attempts === attempt) one.clock.advance(1);
      pauses.push(one.clock.now() - before);
    }
    expect(pauses).toEqual([100, 200, 400, 800, 1000, 1000]);
  });

  test("a stream that is accepted and ends at once keeps the pauses growing", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n, { random: { below: (n) => n - 1 } });
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 4; attempt++) {
      await until(() => one.state(2n) === "open");
      two.streams.stop();
      await until(() => one.state(2n) === "waiting");
      const before = one.clock.now();
      while (one.transport.stats(2n)?.attempts === attempt) one.clock.advance(1);
      pauses.push(one.clock.now() - before);
    }
    expect(pauses).toEqual([100, 200, 400, 800]);
    await until(() => one.state(2n) === "open");
    one.clock.advance(5000);
    two.streams.stop();
    await until(() => one.state(2n) === "waiting");
    one.clock.advance(100);
    expect(one.state(2n)).toBe("connecting");
  });

  test("when the peer accepts the connection and never answers the handshake", async () => {
    const two = await members.receiver(2n);
    const silent: ExchangeCall[] = [];
    await two.stop();
    await two.start({ exchange: (call) => void silent.push(call) });
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.transport.send([message({})]);
    await until(() => silent.length === 1);
    expect(one.transport.stats(2n)).toMatchObject({ state: "connecting", pendingMessages: 1 });
    one.clock.advance(4999);
    expect(one.state(2n)).toBe("connecting");
    one.clock.advance(1);
    expect(one.transport.stats(2n)).toMatchObject({ state: "waiting", droppedMessages: 1, pendingBytes: 0 });
    await until(() => one.unreachable.length === 1);
  });

  test("a peer that moved is reached at its new URL; the old stream is closed", async () => {
    const [old, moved] = [await members.receiver(2n), await members.receiver(2n)];
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [old.url] }]);
    await until(() => one.state(2n) === "open");
    one.transport.setPeers([{ id: 2n, peerUrls: [moved.url] }]);
    one.transport.send([message({ commit: 5 })]);
    await until(() => moved.messages.length === 1 && old.closed.length === 1);
    expect(old.messages).toEqual([]);
    // The same set again changes nothing.
    one.transport.setPeers([{ id: 2n, peerUrls: [moved.url] }]);
    expect(one.transport.stats(2n)).toMatchObject({ state: "open", accepted: 1 });
  });

  test("a URL that can't be used makes a peer that is never reached, not an exception", async () => {
    const noTls: Dial = (url) => {
      if (url.startsWith("https:")) throw new Error("no TLS configured");
      return dial(url);
    };
    const one = members.sender(1n, { dial: noTls });
    one.transport.setPeers([
      { id: 2n, peerUrls: ["nonsense"] },
      { id: 3n, peerUrls: ["https://127.0.0.1:1"] },
    ]);
    one.transport.send([message({ to: 2n }), message({ to: 3n })]);
    expect(one.unreachable).toEqual([]);
    await until(() => one.unreachable.length === 2);
    expect([one.state(2n), one.state(3n)]).toEqual(["waiting", "waiting"]);
  });

  test("a removed peer is closed, and nothing more is reported about it", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    await until(() => one.state(2n) === "open");
    one.transport.setPeers([]);
    await until(() => two.closed.length === 1);
    one.clock.advance(10_000);
    await settle();
    expect([one.unreachable, one.refused, two.accepted]).toEqual([[], [], [1n]]);
  });

  test("a peer that is stopped while it waits to try again never does", async () => {
    const two = await members.receiver(2n);
    two.check = () => removed;
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    await until(() => one.refused.length === 1);
    one.transport.send([message({})]);
    const reported = one.unreachable.length;
    one.clock.advance(100);
    one.transport.send([message({})]);
    one.transport.stop();
    await settle();
    // The loss was to be reported in a later turn; by then the transport was stopped.
    expect(one.unreachable.length).toBe(reported);
    expect(one.clock.timerCount).toBe(0);
  });

  test("after stop() nothing is sent, dialled or reported, and no timer is left", async () => {
    const two = await members.receiver(2n);
    const one = members.sender(1n);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    await until(() => one.state(2n) === "open");
    two.expel(1n, removed);
    one.transport.stop();
    one.transport.send([message({})]);
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    one.clock.advance(10_000);
    await until(() => two.closed.length === 1);
    await settle();
    expect([one.refused, one.unreachable, one.clock.timerCount]).toEqual([[], [], 0]);
    expect(two.accepted).toEqual([1n]);
  });
});

describe("a slow peer", () => {
  /** A receiver that answers the handshake and then reads nothing more until resume(). */
  async function stalled(): Promise<{ two: Receiver; resume: () => number }> {
    const two = await members.receiver(2n);
    await two.stop();
    let call: ExchangeCall | null = null;
    let received = 0;
    await two.start({
      exchange: (opened) => {
        call = opened;
        opened.once("data", () => {
          opened.pause();
          opened.write({ wireVersion: WIRE_VERSION });
        });
      },
    });
    const resume = (): number => {
      if (call?.isPaused() === true) {
        call.on("data", (request: ExchangeRequest) => void (received += request.messages.length));
        call.resume();
      }
      return received;
    };
    return { two, resume };
  }

  test("loses messages, never memory, and is reported unreachable once per period", async () => {
    const { two, resume } = await stalled();
    const queueBytesMax = 1024 * 1024;
    const one = members.sender(1n, { peerLimits: { queueBytesMax } });
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    await until(() => one.state(2n) === "open");
    let most = 0;
    for (let i = 0; i < 500; i++) {
      one.transport.send([append(50_000)]);
      most = Math.max(most, one.transport.stats(2n)?.pendingBytes ?? 0);
      if (i % 20 === 0) await settle(2);
    }
    await settle();
    expect(most).toBeGreaterThan(queueBytesMax / 2);
    expect(most).toBeLessThanOrEqual(queueBytesMax);
    const stats = one.transport.stats(2n);
    expect(stats?.droppedMessages).toBeGreaterThan(400);
    expect(one.unreachable).toEqual([2n]);
    one.clock.advance(100);
    one.transport.send([append(50_000), append(50_000)]);
    await until(() => one.unreachable.length === 2);
    // What was taken does arrive once the peer reads again, and then there is room again.
    const taken = one.transport.stats(2n)?.sentMessages ?? 0;
    await until(() => resume() === taken);
    await until(() => one.transport.stats(2n)?.pendingBytes === 0);
    expect(one.state(2n)).toBe("open");
  });

  test("the number of messages is bounded too", async () => {
    const { two } = await stalled();
    const one = members.sender(1n, { peerLimits: { queueMessagesMax: 100 } });
    one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
    for (let i = 0; i < 50; i++) one.transport.send([message({}), message({}), message({})]);
    // Still connecting: what waits is here, exactly.
    expect(one.transport.stats(2n)).toMatchObject({
      state: "connecting",
      pendingMessages: 99,
      droppedMessages: 51,
    });
    expect(one.unreachable).toEqual([]);
    await until(() => one.unreachable.length === 1);
  });
});
