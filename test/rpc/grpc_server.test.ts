/**
 * One listener over real connections: every call is answered once, with what its handler gave or a status that says
 * why; streams are written at the caller's pace. The clock is moved by hand.
 */
import { EventEmitter } from "node:events";
import { Metadata, status } from "@grpc/grpc-js";
import type { ServiceError, UntypedServiceImplementation } from "@grpc/grpc-js";
import { CallCancelledError } from "../../src/base/call";
import type { Call } from "../../src/base/call";
import { silentLog } from "../../src/base/log";
import type { LogFields } from "../../src/base/log";
import { ListenError } from "../../src/rpc/definition";
import type { Answer, Handlers, Incoming, ResponseSink, ServiceDefinition } from "../../src/rpc/definition";
import { GrpcServer } from "../../src/rpc/grpc_server";
import { fromGrpcFailure } from "../../src/rpc/grpc_status";
import { RpcError, StatusCode, refusalError } from "../../src/rpc/rpc_error";
import { ManualClock } from "../base/support/manual_clock";
import { settle, until } from "../base/support/until";
import { TEST_SERVICE, TestClient, UNDECODABLE, freePort } from "./support/test_service";
import type { Ended } from "./support/test_service";

jest.setTimeout(20_000);

type TestHandlers = Handlers<typeof TEST_SERVICE>;
type Sink = ResponseSink<string>;

const STALL_MS = 30_000;

let clock: ManualClock;
let logged: LogFields[];
let translated: unknown[];
let server: GrpcServer;
const clients: TestClient[] = [];

function newServer(): GrpcServer {
  return new GrpcServer({
    clock,
    wallNow: Date.now,
    electionMs: 1000,
    log: { ...silentLog, info: (fields) => logged.push(fields) },
    translate: (error, { method }) => {
      translated.push(error);
      return error instanceof RpcError
        ? error
        : refusalError({ reason: "INTERNAL", message: `${method} failed`, metadata: {} });
    },
    maxMessageBytes: 100_000,
    stallMs: STALL_MS,
  });
}

beforeEach(() => {
  clock = new ManualClock();
  logged = [];
  translated = [];
  server = newServer();
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.close();
});

const unused: TestHandlers = {
  echo: () => Promise.reject(new Error("echo is not part of this test")),
  list: () => Promise.reject(new Error("list is not part of this test")),
};

async function serve(handlers: Partial<TestHandlers>): Promise<TestClient> {
  server.add(TEST_SERVICE, { ...unused, ...handlers });
  const port = await freePort();
  await server.listen(`http://127.0.0.1:${port}`);
  const client = new TestClient(port);
  clients.push(client);
  return client;
}

function failureOf({ error }: Ended): { code: string; reason: string | null; details: string } {
  if (error === null) throw new Error("the call did not fail");
  return {
    code: status[error.code],
    reason: fromGrpcFailure(error).reason,
    details: error.details,
  };
}

describe("a unary call", () => {
  test("is answered with what its handler gives", async () => {
    const client = await serve({ echo: (request, { method }) => Promise.resolve(`${request}! ${method}`) });
    expect(await client.echo("x").ended).toEqual({ error: null, answer: "x! Echo" });
    expect([translated, logged]).toEqual([[], []]);
  });

  test("is answered with bytes as they are when the handler gives bytes", async () => {
    const serialize = jest.spyOn(TEST_SERVICE.echo, "responseSerialize");
    const client = await serve({ echo: () => Promise.resolve(Buffer.from("encoded already")) });
    expect((await client.echo("x").ended).answer).toBe("encoded already");
    expect(serialize).not.toHaveBeenCalled();
    serialize.mockRestore();
  });

  test.each([
    [
      "throws",
      (): Promise<Answer<string>> => {
        throw new Error("secret");
      },
    ],
    ["rejects", () => Promise.reject(new Error("secret"))],
    [
      "throws after a while",
      () => new Promise<never>((_, reject) => setImmediate(reject, new Error("secret"))),
    ],
  ])("whose handler %s ends with the translator's status", async (_what, echo) => {
    const client = await serve({ echo });
    const wanted = { code: "INTERNAL", reason: "INTERNAL", details: "Echo failed" };
    expect(failureOf(await client.echo("x").ended)).toEqual(wanted);
    expect(translated).toEqual([new Error("secret")]);
  });

  test("ends with the details that an RpcError carries, unchanged", async () => {
    const theirs = new RpcError(StatusCode.ABORTED, "as it was", Buffer.from("whatever they are"));
    const client = await serve({ echo: () => Promise.reject(theirs) });
    const { error } = await client.echo("x").ended;
    expect(error).toMatchObject({ code: status.ABORTED, details: "as it was" });
    expect(error?.metadata.get("grpc-status-details-bin")).toEqual([theirs.details]);
  });

  test("with bytes that do not decode never reaches the handler; the log says what the decoder said", async () => {
    const client = await serve({});
    expect(failureOf(await client.echo(UNDECODABLE).ended)).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "INVALID_REQUEST",
    });
    expect(logged).toEqual([{ rpc: "Echo", reason: "INVALID_REQUEST", text: "index out of range" }]);
    expect(translated).toEqual([]);
  });

  test("with too large a request is refused by the library", async () => {
    const client = await serve({ echo: (request) => Promise.resolve(String(request.length)) });
    expect((await client.echo("x".repeat(100_000)).ended).answer).toBe("100000");
    expect(failureOf(await client.echo("x".repeat(100_001)).ended)).toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      reason: "INVALID_REQUEST",
    });
    expect(translated).toEqual([]);
  });

  test("has the caller's headers, without binary ones", async () => {
    const headers = new Metadata();
    headers.set("TraceParent", "00-1-2-3");
    headers.add("x-twice", "a");
    headers.add("x-twice", "b");
    headers.set("x-bin", Buffer.from([1, 2]));
    let call: Call | null = null;
    const client = await serve({
      echo: (_request, received) => {
        call = received;
        return Promise.resolve("");
      },
    });
    await client.echo("x", { headers }).ended;
    const received = call as Call | null;
    expect(received?.headers.get("traceparent")).toBe("00-1-2-3");
    expect(received?.headers.get("x-twice")?.split(/, ?/)).toEqual(["a", "b"]);
    expect(received?.headers.has("x-bin")).toBe(false);
    expect([received?.mayForward, received?.caller.name]).toEqual([true, "anonymous"]);
  });

  test("that its caller cancels is reported to its handler, also when that asks late", async () => {
    const reported: string[] = [];
    let received: Call | null = null;
    const client = await serve({
      echo: (_request, call) => {
        received = call;
        call.onCancel(() => reported.push("early"));
        return new Promise<never>(() => undefined);
      },
    });
    const { call, ended } = client.echo("x");
    await until(() => received !== null);
    const seen = received as Call | null;
    expect(seen?.cancelled).toBe(false);
    call.cancel();
    expect((await ended).error?.code).toBe(status.CANCELLED);
    await until(() => seen?.cancelled === true);
    seen?.onCancel(() => reported.push("late"));
    expect(reported).toEqual(["early", "late"]);
  });

  test("that passed its caller's deadline is cancelled too", async () => {
    let cancelled = false;
    const client = await serve({
      echo: (_request, call) => {
        call.onCancel(() => (cancelled = true));
        return new Promise<never>(() => undefined);
      },
    });
    expect((await client.echo("x", { deadlineMs: 50 }).ended).error?.code).toBe(status.DEADLINE_EXCEEDED);
    await until(() => cancelled);
  });
});

/** The library's side of a call, for what can't be seen from outside. */
class LibraryCall extends EventEmitter {
  readonly metadata = new Metadata();
  deadline: Date | number = Infinity;

  constructor(readonly request: Incoming<string>) {
    super();
  }

  getDeadline(): Date | number {
    return this.deadline;
  }
}

type Callback = (error: unknown, answer?: unknown) => void;

/** Echo as it is given to the library. */
function addedEcho(echo: TestHandlers["echo"]): (call: LibraryCall, callback: Callback) => void {
  let added: UntypedServiceImplementation = {};
  jest.spyOn(server.native, "addService").mockImplementation((_definition, implementation) => {
    added = implementation;
  });
  server.add(TEST_SERVICE, { ...unused, echo });
  return added["echo"] as unknown as (call: LibraryCall, callback: Callback) => void;
}

describe("towards the library", () => {
  test.each([
    ["an answer", () => Promise.resolve("y"), [null, "y"]],
    [
      "a failure",
      () => Promise.reject(new RpcError(StatusCode.ABORTED, "no", null)),
      [expect.objectContaining({ code: status.ABORTED, details: "no" })],
    ],
  ])("%s calls back once; a cancellation after it is not reported", async (_what, handler, wanted) => {
    const answers: unknown[][] = [];
    let reported = 0;
    const echo = addedEcho((_request, call) => {
      call.onCancel(() => reported++);
      return handler();
    });
    const call = new LibraryCall("x");
    await new Promise<void>((resolve) => {
      echo(call, (...answer) => {
        answers.push(answer);
        resolve();
      });
    });
    call.emit("cancelled");
    await settle();
    expect([answers, reported]).toEqual([[wanted], 0]);
  });

  test("a call that its caller cancelled calls back once, with what the handler then threw", async () => {
    const echo = addedEcho(
      (_request, call) =>
        new Promise((_, reject) => {
          call.onCancel(() => {
            reject(new CallCancelledError());
          });
        }),
    );
    const call = new LibraryCall("x");
    const answers: unknown[] = [];
    echo(call, (error) => answers.push(error));
    call.emit("cancelled");
    call.emit("cancelled");
    await until(() => answers.length > 0);
    await settle();
    // Nobody reads it, so it is one for all.
    expect(answers).toMatchObject([{ code: status.CANCELLED }]);
    expect(translated).toEqual([new CallCancelledError()]);
  });

  test("the deadline of the call is shortened; without one it is 5 s and two election timeouts", async () => {
    jest.spyOn(Date, "now").mockReturnValue(1_000_000);
    server = newServer();
    const seen: [number, boolean][] = [];
    const echo = addedEcho((_request, call) => {
      seen.push([call.deadline.remainingMs(), call.mayForward]);
      return Promise.resolve("");
    });
    const bounded = new LibraryCall("x");
    bounded.deadline = new Date(1_000_000 + 2000);
    bounded.metadata.set("muster-forward", "never");
    const asNumber = new LibraryCall("x");
    asNumber.deadline = 1_000_000 + 2000;
    for (const call of [bounded, asNumber, new LibraryCall("x")]) {
      await new Promise((resolve) => {
        echo(call, resolve);
      });
    }
    jest.restoreAllMocks();
    expect(seen).toEqual([
      [1900, false],
      [1900, true],
      [6750, true],
    ]);
  });
});

describe("a streamed answer", () => {
  const CHUNK = "x".repeat(50_000);
  const CHUNKS = 200;

  /** Writes much more than the connection holds; the returned list says what became of each write, and of the call. */
  function flood(received: (call: Call, sink: Sink) => void = () => undefined): {
    list: TestHandlers["list"];
    wrote: () => number;
    failure: () => unknown;
  } {
    let wrote = 0;
    let failure: unknown = null;
    const list: TestHandlers["list"] = async (_request, call, sink) => {
      received(call, sink);
      try {
        for (; wrote < CHUNKS; wrote++) await sink.write(`${wrote} ${CHUNK}`);
      } catch (error) {
        failure = error;
        throw error;
      }
    };
    return { list, wrote: () => wrote, failure: () => failure };
  }

  /** Waits until the handler waits for its caller. */
  async function untilStuck(wrote: () => number): Promise<void> {
    await until(() => clock.timerCount > 0 && wrote() > 0);
    for (let before = -1; before !== wrote();) {
      before = wrote();
      await settle(50);
    }
  }

  /** Reads `stream` to its end. */
  function readAll(
    stream: ReturnType<TestClient["list"]>,
  ): Promise<{ messages: string[]; error: ServiceError | null }> {
    const messages: string[] = [];
    return new Promise((resolve) => {
      stream.on("data", (message: string) => messages.push(message));
      stream.on("error", (error: ServiceError) => {
        resolve({ messages, error });
      });
      stream.on("end", () => {
        resolve({ messages, error: null });
      });
    });
  }

  test("is written at the caller's pace, and whole", async () => {
    const { list, wrote } = flood();
    const stream = (await serve({ list })).list("x");
    await untilStuck(wrote);
    expect(wrote()).toBeLessThan(CHUNKS / 2);
    clock.advance(STALL_MS - 1);
    const { messages, error } = await readAll(stream);
    expect(error).toBeNull();
    expect(messages.map((message) => Number.parseInt(message, 10))).toEqual([...Array(CHUNKS).keys()]);
    await until(() => clock.timerCount === 0);
    expect(translated).toEqual([]);
  });

  test("to a caller that takes nothing is given up after the stall time of the injected clock", async () => {
    const { list, wrote, failure } = flood();
    const stream = (await serve({ list })).list("x");
    await untilStuck(wrote);
    clock.advance(STALL_MS - 1);
    await untilStuck(wrote);
    expect(failure()).toBeNull();
    clock.advance(1);
    await until(() => failure() !== null);
    expect(failure()).toMatchObject({ code: StatusCode.DEADLINE_EXCEEDED, reason: "NOT_PROPOSED" });
    expect((failure() as Error).message).toContain(`took nothing for ${STALL_MS} ms`);
    // What was on its way arrives, and then the reason.
    const { messages, error } = await readAll(stream);
    expect(messages.length).toBeLessThan(CHUNKS / 2);
    expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    expect(clock.timerCount).toBe(0);
  });

  test("to a caller that goes away ends the write that waits, and those after it", async () => {
    let sink: Sink | null = null;
    const { list, wrote, failure } = flood((_call, given) => (sink = given));
    const stream = (await serve({ list })).list("x");
    stream.on("error", () => undefined);
    await untilStuck(wrote);
    stream.cancel();
    await until(() => failure() !== null);
    expect(failure()).toBeInstanceOf(CallCancelledError);
    await expect((sink as Sink | null)?.write("more")).rejects.toBeInstanceOf(CallCancelledError);
    expect([clock.timerCount, wrote() < CHUNKS / 2]).toEqual([0, true]);
  });

  test("ends with the first error given to fail(): the write that waits and those after it", async () => {
    const stopping = refusalError({ reason: "SERVER_STOPPING", message: "it stops", metadata: {} });
    let sink!: Sink;
    const { list, wrote, failure } = flood((_call, given) => (sink = given));
    const stream = (await serve({ list })).list("x");
    await untilStuck(wrote);
    sink.fail(stopping);
    sink.fail(new Error("a second one"));
    await until(() => failure() !== null);
    expect(failure()).toBe(stopping);
    await expect(sink.write("more")).rejects.toBe(stopping);
    const { error } = await readAll(stream);
    expect(failureOf({ error, answer: undefined })).toEqual({
      code: "UNAVAILABLE",
      reason: "SERVER_STOPPING",
      details: "it stops",
    });
  });

  test("that is pushed waits for its caller for ever, with one message at a time, and is whole", async () => {
    let pushed = 0;
    const list: TestHandlers["list"] = (_request, _call, sink) =>
      new Promise((resolve) => {
        const next = (): void => {
          if (pushed === CHUNKS) resolve();
          else sink.push(Buffer.from(`${pushed++} ${CHUNK}`), next);
        };
        next();
      });
    const stream = (await serve({ list })).list("x");
    for (let before = -1; before !== pushed;) {
      before = pushed;
      await settle(50);
    }
    expect(pushed).toBeLessThan(CHUNKS / 2);
    expect(clock.timerCount).toBe(0);
    clock.advance(24 * 60 * 60 * 1000);
    const { messages, error } = await readAll(stream);
    expect(error).toBeNull();
    expect(messages.map((message) => Number.parseInt(message, 10))).toEqual([...Array(CHUNKS).keys()]);
  });

  test("whose request does not decode never reaches the handler", async () => {
    const stream = (await serve({})).list(UNDECODABLE);
    const { messages, error } = await readAll(stream);
    expect([messages, fromGrpcFailure(error as ServiceError).reason]).toEqual([[], "INVALID_REQUEST"]);
    expect(logged).toEqual([{ rpc: "List", reason: "INVALID_REQUEST", text: "index out of range" }]);
  });

  test.each([
    [
      "throws",
      (): Promise<void> => {
        throw new Error("secret");
      },
    ],
    ["rejects", (): Promise<void> => Promise.reject(new Error("secret"))],
  ])("whose handler %s ends with the translator's status", async (_what, list) => {
    const { messages, error } = await readAll((await serve({ list })).list("x"));
    expect([messages, error?.code, error?.details]).toEqual([[], status.INTERNAL, "List failed"]);
    expect(translated).toEqual([new Error("secret")]);
  });

  test("that is over cancels nothing any more", async () => {
    let reported = 0;
    const list: TestHandlers["list"] = async (_request, call, sink) => {
      call.onCancel(() => reported++);
      await sink.write("one");
    };
    const stream = (await serve({ list })).list("x");
    expect(await readAll(stream)).toEqual({ messages: ["one"], error: null });
    stream.cancel();
    await server.close();
    expect(reported).toBe(0);
  });
});

describe("a listener", () => {
  test("on a taken port refuses with the URL, and closes all the same", async () => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    await server.listen(url);
    const second = newServer();
    const failure = await second.listen(url).then(
      () => null,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(ListenError);
    expect((failure as Error).message).toMatch(new RegExp(`^${url}: can't listen there: .*EADDRINUSE`));
    await second.close();
  });

  test.each([
    ["http://127.0.0.1:80", "127.0.0.1:80"],
    ["http://127.0.0.1:7461", "127.0.0.1:7461"],
    ["http://[::1]:7461", "[::1]:7461"],
    ["http://n1:80", "n1:80"],
  ])("for %s binds %s: the default port is one like any other", async (url, address) => {
    const bind = jest.spyOn(server.native, "bindAsync").mockImplementation((_address, _credentials, done) => {
      done(null, 1);
    });
    await server.listen(url);
    expect(bind.mock.calls[0]?.[0]).toBe(address);
    bind.mockRestore();
    server = newServer();
  });

  test("that was never opened closes", async () => {
    await server.close();
  });

  test("ends the calls that are open when it closes, after a short while", async () => {
    let cancelled = false;
    let open = 0;
    const client = await serve({
      echo: (_request, call) => {
        open++;
        call.onCancel(() => (cancelled = true));
        return new Promise<never>(() => undefined);
      },
    });
    const { ended } = client.echo("x");
    await until(() => open === 1);
    const startMs = performance.now();
    await server.close();
    // Half a second is the time that open calls get.
    expect(performance.now() - startMs).toBeLessThan(5000);
    expect((await ended).error).not.toBeNull();
    await until(() => cancelled);
    expect(clock.timerCount).toBe(0);
  });

  test("lets a call that is nearly done end while it closes", async () => {
    let finish: (answer: string) => void = () => undefined;
    let open = 0;
    const client = await serve({
      echo: () => {
        open++;
        return new Promise<string>((resolve) => (finish = resolve));
      },
    });
    const { ended } = client.echo("x");
    await until(() => open === 1);
    const closed = server.close();
    finish("done");
    expect(await ended).toEqual({ error: null, answer: "done" });
    await closed;
  });

  test("that the library does not close is left to itself, by the injected clock", async () => {
    const never = jest.spyOn(server.native, "tryShutdown").mockImplementation(() => undefined);
    let closed = false;
    const closing = server.close().then(() => (closed = true));
    clock.advance(1499);
    await settle();
    expect(closed).toBe(false);
    clock.advance(1);
    await closing;
    never.mockRestore();
  });

  test("takes no method whose requests stream", () => {
    const service = { upload: { ...TEST_SERVICE.list, requestStream: true } } as ServiceDefinition;
    expect(() => {
      server.add(service, { upload: unused.list } as never);
    }).toThrow("/test.v1.TestService/List: requests that stream are not for handlers");
  });
});
