/**
 * Calls to other members over real connections: what each way to fail means for the caller, which headers travel, and
 * when channels are closed.
 */
import { status } from "@grpc/grpc-js";
import { CallCancelledError, OpenCall } from "../../src/base/call";
import type { Call } from "../../src/base/call";
import { Deadline } from "../../src/base/deadline";
import { silentLog } from "../../src/base/log";
import type { Answer } from "../../src/rpc/definition";
import { GrpcServer } from "../../src/rpc/grpc_server";
import { RpcError, StatusCode, refusalError } from "../../src/rpc/rpc_error";
import { PeerChannel } from "../../src/transport/dial";
import { GrpcPeerCalls } from "../../src/transport/grpc_peer_calls";
import { ManualClock } from "../base/support/manual_clock";
import { settle, until } from "../base/support/until";
import { TEST_SERVICE, freePort } from "../rpc/support/test_service";
import { Relay } from "./support/relay";

jest.setTimeout(20_000);

const REQUEST = { path: TEST_SERVICE.echo.path, body: Buffer.from("question") };

const UNREACHABLE = "http://127.0.0.1:1";
/** More than any connection over loopback takes, and more than a test waits. */
const CONNECT_MS = 10_000;

let clock: ManualClock;
let calls: GrpcPeerCalls;
let dialled: { readonly url: string; readonly close: jest.SpyInstance }[];
const endings: (() => unknown)[] = [];

beforeEach(() => {
  clock = new ManualClock();
  dialled = [];
  calls = new GrpcPeerCalls({
    clock,
    wallNow: Date.now,
    dial: (url) => {
      const channel = new PeerChannel(url);
      dialled.push({ url, close: jest.spyOn(channel, "close") });
      return channel;
    },
  });
});

afterEach(async () => {
  calls.close();
  for (const end of endings.splice(0).reverse()) await end();
});

interface Peer {
  readonly url: string;
  readonly port: number;
  /** What reached the handler. */
  readonly received: { readonly request: string; readonly call: Call }[];
  readonly server: GrpcServer;
}

async function peer(answer: () => Promise<Answer<string>> = () => Promise.resolve("answer")): Promise<Peer> {
  const server = new GrpcServer({
    clock: new ManualClock(),
    wallNow: Date.now,
    electionMs: 1000,
    log: silentLog,
    translate: (error) =>
      error instanceof RpcError ? error : new RpcError(StatusCode.UNKNOWN, String(error), null),
    maxMessageBytes: 100_000,
    stallMs: 1000,
  });
  const received: { request: string; call: Call }[] = [];
  server.add(TEST_SERVICE, {
    echo: (request, call) => {
      received.push({ request, call });
      return answer();
    },
    list: () => Promise.resolve(),
  });
  const port = await freePort();
  await server.listen(`http://127.0.0.1:${port}`);
  endings.push(() => {
    server.native.forceShutdown();
  });
  return { url: `http://127.0.0.1:${port}`, port, received, server };
}

async function relayTo({ port }: Peer): Promise<Relay> {
  const relay = await new Relay(port).start();
  endings.push(() => {
    relay.stop();
  });
  return relay;
}

/** @param deadlineMs what the call has left, less the margin */
function openCall(headers: Readonly<Record<string, string>> = {}, deadlineMs = 60_000): OpenCall {
  return new OpenCall({
    method: "Test",
    deadline: Deadline.of(clock, deadlineMs, 1000),
    headers: () => new Map(Object.entries(headers)),
  });
}

const never = (): Promise<never> => new Promise(() => undefined);

describe("an outcome is", () => {
  test("done with the answer's bytes as they came", async () => {
    const bytes = Buffer.from([0xff, 0, 1]);
    const two = await peer(() => Promise.resolve(bytes));
    expect(await calls.call(two.url, REQUEST, openCall(), CONNECT_MS)).toEqual({
      kind: "done",
      value: bytes,
    });
    expect(two.received.map(({ request }) => request)).toEqual(["question"]);
  });

  test("done with no bytes for an empty answer", async () => {
    const two = await peer(() => Promise.resolve(""));
    const outcome = await calls.call(two.url, REQUEST, openCall(), CONNECT_MS);
    expect(outcome).toEqual({ kind: "done", value: Buffer.alloc(0) });
  });

  test.each([
    ["of the roster", refusalError({ reason: "LAST_VOTER", message: "no", metadata: { id: "a" } })],
    ["with a code of the transport", refusalError({ reason: "NO_LEADER", message: "no", metadata: {} })],
    ["without details, but of the method itself", new RpcError(status.UNIMPLEMENTED, "no such method", null)],
  ])("refused with the other's own error, unchanged: one %s", async (_what, theirs) => {
    const two = await peer(() => Promise.reject(theirs));
    const outcome = await calls.call(two.url, REQUEST, openCall(), CONNECT_MS);
    if (outcome.kind !== "refused") throw new Error(`it was ${outcome.kind}`);
    const { error } = outcome;
    if (!(error instanceof RpcError)) throw new Error("it is no RpcError");
    const { code, message, details, reason } = error;
    expect({ code, message, details, reason }).toEqual({
      code: theirs.code,
      message: theirs.message,
      details: theirs.details,
      reason: theirs.reason,
    });
  });

  test("retry when nothing listens, after the time for connecting", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    expect(await calls.call(url, REQUEST, openCall(), 50)).toEqual({ kind: "retry", because: null });
  });

  test("retry when the call's deadline passes before there is a connection", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const startMs = performance.now();
    const outcome = await calls.call(url, REQUEST, openCall({}, 100), CONNECT_MS);
    expect(outcome).toEqual({ kind: "retry", because: null });
    expect(performance.now() - startMs).toBeLessThan(CONNECT_MS / 2);
  });

  test("retry when the URL can't be dialled", async () => {
    const outcome = await calls.call("nonsense", REQUEST, openCall(), CONNECT_MS);
    expect(outcome).toEqual({ kind: "retry", because: null });
  });

  test("unknown when the connection dies after the call was sent", async () => {
    const two = await peer(never);
    const relay = await relayTo(two);
    const outcome = calls.call(relay.url, REQUEST, openCall(), CONNECT_MS);
    await until(() => two.received.length === 1);
    relay.cut();
    expect(await outcome).toEqual({ kind: "unknown" });
  });

  test("unknown when the answer is lost", async () => {
    let answered = false;
    let relay: Relay | null = null;
    const two = await peer(() => {
      if (relay !== null) relay.losesAnswers = true;
      answered = true;
      return Promise.resolve("answer");
    });
    relay = await relayTo(two);
    // What is left after the margin, 280 ms, is the deadline of the forwarded call.
    const outcome = calls.call(relay.url, REQUEST, openCall({}, 300), CONNECT_MS);
    expect(await outcome).toEqual({ kind: "unknown" });
    expect(answered).toBe(true);
  });

  test.each([
    status.UNAVAILABLE,
    status.INTERNAL,
    status.CANCELLED,
    status.UNKNOWN,
    status.DEADLINE_EXCEEDED,
    status.RESOURCE_EXHAUSTED,
    status.ABORTED,
  ])("unknown for code %d without a reason: a proxy or a library may have sent it", async (code) => {
    const two = await peer(() => Promise.reject(new RpcError(code, "somewhere", null)));
    expect(await calls.call(two.url, REQUEST, openCall(), CONNECT_MS)).toEqual({ kind: "unknown" });
  });
});

test("a call has the deadline that its caller left it", async () => {
  const two = await peer();
  await calls.call(two.url, REQUEST, openCall({}, 60_000), CONNECT_MS);
  // 250 ms less than the caller set, and again 250 ms less than it received.
  const remainingMs = two.received[0]?.call.deadline.remainingMs() ?? 0;
  expect(remainingMs).toBeLessThanOrEqual(59_500);
  expect(remainingMs).toBeGreaterThan(55_000);
});

describe("the caller's cancellation", () => {
  test("ends the wait, not the call", async () => {
    let answer: (text: string) => void = () => undefined;
    const two = await peer(() => new Promise((resolve) => (answer = resolve)));
    const call = openCall();
    const outcome = calls.call(two.url, REQUEST, call, CONNECT_MS);
    await until(() => two.received.length === 1);
    call.cancel();
    await expect(outcome).rejects.toBeInstanceOf(CallCancelledError);
    await settle();
    expect(two.received[0]?.call.cancelled).toBe(false);
    answer("unread");
    const again = calls.call(two.url, REQUEST, openCall(), CONNECT_MS);
    await until(() => two.received.length === 2);
    answer("read");
    expect(await again).toMatchObject({ kind: "done" });
  });

  test("ends the wait for a connection, and then nothing is sent", async () => {
    const two = await peer();
    const relay = await relayTo(two);
    relay.isOpen = false;
    const call = openCall();
    const outcome = calls.call(relay.url, REQUEST, call, CONNECT_MS);
    await until(() => relay.accepted === 1);
    call.cancel();
    await expect(outcome).rejects.toBeInstanceOf(CallCancelledError);
    relay.release();
    const later = { ...REQUEST, body: Buffer.from("later") };
    expect(await calls.call(relay.url, later, openCall(), CONNECT_MS)).toMatchObject({ kind: "done" });
    await settle();
    expect(two.received.map(({ request }) => request)).toEqual(["later"]);
  });

  test("after the answer does nothing", async () => {
    const two = await peer();
    const call = openCall();
    expect(await calls.call(two.url, REQUEST, call, CONNECT_MS)).toMatchObject({ kind: "done" });
    call.cancel();
    await settle();
  });
});

describe("headers", () => {
  /** Those of `sent`, and ours, that reached the other member. */
  async function travelled(sent: Readonly<Record<string, string>>): Promise<Record<string, string>> {
    const two = await peer();
    await calls.call(two.url, REQUEST, openCall(sent), CONNECT_MS);
    const { headers } = two.received[0]?.call ?? { headers: new Map<string, string>() };
    return Object.fromEntries([...headers].filter(([key]) => key in sent || key === "muster-forward"));
  }

  test("of trace context and our own travel, no other; the called member never forwards", async () => {
    const ours = {
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      tracestate: "a=b",
      baggage: "c=d",
      "muster-anything": "yes",
    };
    const others = {
      authorization: "Bearer secret",
      cookie: "a=b",
      "content-length": "17",
      "user-agent": "curl",
      "x-request-id": "7",
      "traceparent-2": "no",
      "not-muster-x": "no",
      "grpc-timeout": "1S",
    };
    const received = await travelled({ ...others, ...ours, "muster-forward": "always" });
    delete received["user-agent"];
    delete received["grpc-timeout"];
    expect(received).toEqual({ ...ours, "muster-forward": "never" });
  });

  test("make a call that is not forwarded", async () => {
    const two = await peer();
    await calls.call(two.url, REQUEST, openCall(), CONNECT_MS);
    expect(two.received[0]?.call.mayForward).toBe(false);
  });

  test("travel up to 8 KiB of names and values", async () => {
    const room = 8192 - "baggage".length;
    const fits = { baggage: "x".repeat(room) };
    expect(await travelled(fits)).toEqual({ ...fits, "muster-forward": "never" });
    expect(await travelled({ baggage: "x".repeat(room + 1) })).toEqual({ "muster-forward": "never" });
    const two = { tracestate: "x".repeat(5000), baggage: "x".repeat(5000) };
    expect(await travelled(two)).toEqual({ tracestate: two.tracestate, "muster-forward": "never" });
    const behind = { baggage: "x".repeat(room + 1), traceparent: "00-1" };
    expect(await travelled(behind)).toEqual({ traceparent: "00-1", "muster-forward": "never" });
  });
});

test("a call after close() is not sent, and opens no channel", async () => {
  const two = await peer();
  calls.close();
  expect(await calls.call(two.url, REQUEST, openCall(), CONNECT_MS)).toEqual({
    kind: "retry",
    because: null,
  });
  expect(dialled).toEqual([]);
});

describe("ask", () => {
  test("gives the answer's bytes, on a channel of its own that is closed then", async () => {
    const two = await peer();
    expect(await calls.ask(two.url, REQUEST, CONNECT_MS)).toEqual(Buffer.from("answer"));
    expect(await calls.ask(two.url, REQUEST, CONNECT_MS)).toEqual(Buffer.from("answer"));
    expect(dialled.map(({ close }) => close.mock.calls.length)).toEqual([1, 1]);
    // It is nobody's call that is forwarded.
    expect(two.received[0]?.call.headers.has("muster-forward")).toBe(false);
  });

  test.each([
    refusalError({ reason: "SERVER_STOPPING", message: "no", metadata: {} }),
    new RpcError(status.UNIMPLEMENTED, "no such method", null),
  ])("gives null for an error with code $code", async (error) => {
    const two = await peer(() => Promise.reject(error));
    expect(await calls.ask(two.url, REQUEST, CONNECT_MS)).toBeNull();
    expect(dialled[0]?.close).toHaveBeenCalledTimes(1);
  });

  test("gives null when nothing listens, or the URL can't be dialled", async () => {
    expect(await calls.ask(`http://127.0.0.1:${await freePort()}`, REQUEST, CONNECT_MS)).toBeNull();
    expect(await calls.ask("nonsense", REQUEST, CONNECT_MS)).toBeNull();
  });

  test("gives null when no answer comes in time", async () => {
    const two = await peer(never);
    expect(await calls.ask(two.url, REQUEST, 100)).toBeNull();
    expect(two.received.length).toBe(1);
    expect(dialled[0]?.close).toHaveBeenCalledTimes(1);
  });
});

describe("channels", () => {
  const toUnreachable = (url: string): Promise<unknown> => calls.call(url, REQUEST, openCall(), 0);
  const closed = (): number[] => dialled.map(({ close }) => close.mock.calls.length);

  test("are shared by the calls to one member", async () => {
    const two = await peer();
    await Promise.all([1, 2, 3].map(() => calls.call(two.url, REQUEST, openCall(), CONNECT_MS)));
    expect(dialled.map(({ url }) => url)).toEqual([two.url]);
  });

  test("are closed after a minute without a call, by the injected clock", async () => {
    const other = "http://127.0.0.1:2";
    await toUnreachable(UNREACHABLE);
    clock.advance(30_000);
    await toUnreachable(UNREACHABLE);
    clock.advance(59_999);
    await toUnreachable(other);
    expect(closed()).toEqual([0, 0]);
    clock.advance(1);
    await toUnreachable(other);
    expect(closed()).toEqual([1, 0]);
    await toUnreachable(UNREACHABLE);
    expect(dialled.map(({ url }) => url)).toEqual([UNREACHABLE, other, UNREACHABLE]);
  });

  test("that carry a call are not closed under it", async () => {
    let answer: (text: string) => void = () => undefined;
    const two = await peer(() => new Promise((resolve) => (answer = resolve)));
    const outcome = calls.call(two.url, REQUEST, openCall({}, 600_000), CONNECT_MS);
    await until(() => two.received.length === 1);
    clock.advance(60_000);
    await toUnreachable(UNREACHABLE);
    expect(closed()).toEqual([1, 0]);
    answer("late");
    expect(await outcome).toEqual({ kind: "done", value: Buffer.from("late") });
  });

  test("are all closed by close(); what is under way still gets its answer", async () => {
    let answer: (text: string) => void = () => undefined;
    const two = await peer(() => new Promise((resolve) => (answer = resolve)));
    const outcome = calls.call(two.url, REQUEST, openCall(), CONNECT_MS);
    await until(() => two.received.length === 1);
    await toUnreachable(UNREACHABLE);
    calls.close();
    expect(closed()).toEqual([1, 1]);
    answer("late");
    expect(await outcome).toEqual({ kind: "done", value: Buffer.from("late") });
  });
});
