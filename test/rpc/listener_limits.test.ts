/** The bounds of one listener over real connections, and what becomes of requests that the library can't read. */
import { connect as connectHttp2 } from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import { connect } from "node:net";
import type { Socket } from "node:net";
import type { Call } from "../../src/base/call";
import { silentLog } from "../../src/base/log";
import { openServers } from "../../src/rpc/connections";
import { openFilesMax } from "../../src/base/open_files";
import { decodeDetails } from "../../src/rpc/error_details";
import { GrpcServer } from "../../src/rpc/grpc_server";
import { connectionsWithin } from "../../src/rpc/listener_limits";
import type { ListenerLimits } from "../../src/rpc/listener_limits";
import { refusalError } from "../../src/rpc/rpc_error";
import { ManualClock } from "../base/support/manual_clock";
import { until } from "../base/support/until";
import { TEST_SERVICE, TestClient, freePort } from "./support/test_service";

jest.setTimeout(20_000);

const clock = new ManualClock();
const clients: TestClient[] = [];
const sockets: Socket[] = [];
const sessions: ClientHttp2Session[] = [];
let warnings: string[] = [];
let server: GrpcServer | null = null;
let port = 0;

type Echo = (request: string, call: Call) => Promise<string>;

async function listen(echo: Echo, limits: Partial<ListenerLimits> = {}): Promise<void> {
  warnings = [];
  server = new GrpcServer({
    clock,
    wallNow: Date.now,
    electionMs: 1000,
    log: { ...silentLog, warn: (_fields, text) => void warnings.push(text) },
    translate: () => refusalError({ reason: "INTERNAL", message: "failed", metadata: {} }),
    maxMessageBytes: 1000,
    stallMs: 1000,
    limits,
  });
  server.add(TEST_SERVICE, {
    echo: (request, call) => echo(request, call),
    list: () => Promise.reject(new Error("not in this test")),
  });
  port = await freePort();
  await server.listen(`http://127.0.0.1:${port}`);
}

function client(): TestClient {
  const made = new TestClient(port);
  clients.push(made);
  return made;
}

function session(): ClientHttp2Session {
  const made = connectHttp2(`http://127.0.0.1:${port}`);
  made.on("error", () => undefined);
  sessions.push(made);
  return made;
}

/** A connection that says nothing. */
function silent(): { readonly socket: Socket; closed: boolean } {
  const socket = connect(port, "127.0.0.1");
  const made = { socket, closed: false };
  socket.resume();
  socket.on("error", () => undefined);
  socket.on("close", () => (made.closed = true));
  sockets.push(socket);
  return made;
}

afterEach(async () => {
  for (const made of clients.splice(0)) made.close();
  for (const made of sessions.splice(0)) made.destroy();
  for (const made of sockets.splice(0)) made.destroy();
  await server?.close();
});

function openConnections({ native }: GrpcServer): number {
  return openServers(native).reduce(
    (sum, each) => sum + (each as unknown as { _connections: number })._connections,
    0,
  );
}

/** The headers and trailers of a unary call of these bytes. */
function rawEcho(body: Buffer, headers: Record<string, string> = {}): Promise<Record<string, unknown>> {
  const stream = session().request({
    ":method": "POST",
    ":path": TEST_SERVICE.echo.path,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  return new Promise((resolve) => {
    let found: Record<string, unknown> = {};
    const add = (more: Record<string, unknown>): void => {
      found = { ...found, ...more };
    };
    stream.on("response", add);
    stream.on("trailers", add);
    stream.on("error", () => undefined);
    stream.on("close", () => resolve(found));
    stream.resume();
    stream.end(body);
  });
}

function frame(flag: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

test.each<[string, Buffer, Record<string, string>, number]>([
  ["too large", frame(0, Buffer.alloc(1001)), {}, 8],
  ["not gzip, though it says so", frame(1, Buffer.from("no gzip")), { "grpc-encoding": "gzip" }, 13],
  ["of an unknown compression", frame(1, Buffer.from("x")), { "grpc-encoding": "snappy" }, 12],
  ["with a deadline that is none", frame(0, Buffer.from("x")), { "grpc-timeout": "soon" }, 13],
])("a request that is %s has the library's code and our ErrorInfo", async (_what, body, headers, code) => {
  let handled = 0;
  await listen((request) => {
    handled++;
    return Promise.resolve(request);
  });
  const answer = await rawEcho(body, headers);
  expect(answer["grpc-status"]).toBe(String(code));
  const details = Buffer.from(String(answer["grpc-status-details-bin"]), "base64");
  expect(decodeDetails(details).reason).toBe("INVALID_REQUEST");
  expect(handled).toBe(0);
});

test("the newest connection beyond the cap is refused, the others go on; a place that is free is taken", async () => {
  await listen((request) => Promise.resolve(request), { connectionsMax: 3 });
  const idle = [silent(), silent()];
  const one = client();
  expect((await one.echo("a").ended).answer).toBe("a");
  const late = [silent(), silent(), silent()];
  await until(() => late.every(({ closed }) => closed));
  expect(idle.map(({ closed }) => closed)).toEqual([false, false]);
  expect((await one.echo("b").ended).answer).toBe("b");
  // One line for the first, the second, the fourth of them.
  expect(warnings).toHaveLength(2);
  idle[0]?.socket.destroy();
  await until(() => (server === null ? 0 : openConnections(server)) < 3);
  expect((await client().echo("c").ended).answer).toBe("c");
});

test("a connection without a call is closed after a while, one with a call is not", async () => {
  let answer = (_text: string): void => undefined;
  await listen(() => new Promise((resolve) => (answer = resolve)), { idleMs: 100 });
  const idle = [silent(), silent()];
  const open = client().echo("x").ended;
  await until(() => idle.every(({ closed }) => closed));
  answer("still there");
  expect((await open).answer).toBe("still there");
});

test("a client is told how many calls it may have open on one connection", async () => {
  await listen((request) => Promise.resolve(request), { callsPerConnectionMax: 17 });
  const made = session();
  await until(() => made.remoteSettings.maxConcurrentStreams === 17);
});

test("a call waits no longer than it may, whatever its deadline", async () => {
  let remainingMs = 0;
  await listen(
    (request, { deadline }) => {
      remainingMs = deadline.remainingMs();
      return Promise.resolve(request);
    },
    { waitMsMax: 10_000 },
  );
  await client().echo("x", { deadlineMs: 86_400_000 }).ended;
  expect(remainingMs).toBe(10_000 - 250);
});

test("the cap follows the limit of open files, and leaves the log a reserve", () => {
  expect(connectionsWithin(4096, null)).toBe(4096);
  expect(connectionsWithin(4096, 1_000_000)).toBe(4096);
  expect(connectionsWithin(4096, 1024)).toBe(448);
  expect(connectionsWithin(4096, 400)).toBe(136);
  expect(connectionsWithin(4096, 100)).toBe(25);
  expect(connectionsWithin(4096, 10)).toBe(8);
  expect(connectionsWithin(2, 400)).toBe(2);
  const max = openFilesMax();
  expect(max === null || max > 0).toBe(true);
});
