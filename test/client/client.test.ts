/** The client against real gRPC servers with scripted answers: what it repeats, with what, until when. */
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { status } from "@grpc/grpc-js";
import { Consistency, MemberTarget, MusterClient, MusterError } from "../../src/client";
import type { MusterClientOptions } from "../../src/client";
import {
  AddMemberResponse,
  ChangeMembersResponse,
  DeleteMemberResponse,
  GetClusterResponse,
  GetMembersResponse,
  PromoteMemberResponse,
  ReplaceMemberResponse,
  UpdateAdminURLResponse,
  UpdateClusterSettingsResponse,
  UpdateMemberResponse,
} from "../../src/generated/muster/v1/membership_service";
import { FakeClock } from "./support/fake_clock";
import { refusal, ScriptedServer } from "./support/scripted_server";

const servers: ScriptedServer[] = [];
const clients: MusterClient[] = [];

async function server(): Promise<ScriptedServer> {
  const started = await ScriptedServer.start();
  servers.push(started);
  return started;
}

function client(options: MusterClientOptions): MusterClient {
  const made = new MusterClient({ random: () => 1, ...options });
  clients.push(made);
  return made;
}

async function failure(call: Promise<unknown>): Promise<MusterError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof MusterError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

/** A loopback address where nothing listens. */
async function deadEndpoint(): Promise<string> {
  const socket = createServer();
  await new Promise<void>((resolve) => socket.listen(0, "127.0.0.1", resolve));
  const { port } = socket.address() as AddressInfo;
  await new Promise((resolve) => socket.close(resolve));
  return `127.0.0.1:${port}`;
}

afterEach(() => {
  for (const made of clients.splice(0)) made.close();
  for (const started of servers.splice(0)) started.stop();
});

const added = AddMemberResponse.create({ header: { revision: 12n }, member: { id: "ab", name: "n4" } });
const noLeader = (): { fail: ReturnType<typeof refusal> } => ({
  fail: refusal({ code: status.UNAVAILABLE, reason: "NO_LEADER" }),
});

test("one method per call, with what was given and nothing else", async () => {
  const one = await server();
  one
    .on("getMembers", {
      respond: GetMembersResponse.create({ members: [{ id: "1", createRevision: 2n ** 63n }] }),
    })
    .on("getCluster", { respond: GetClusterResponse.create({ quorumSize: 2 }) })
    .on("addMember", { respond: added })
    .on("updateMember", { respond: UpdateMemberResponse.create({ member: { id: "2" } }) })
    .on("deleteMember", { respond: DeleteMemberResponse.create({ member: { id: "3" } }) })
    .on("changeMembers", { respond: ChangeMembersResponse.create({ members: [{ id: "6" }] }) })
    .on("promoteMember", { respond: PromoteMemberResponse.create({ member: { id: "5" } }) })
    .on("updateAdminUrl", { respond: UpdateAdminURLResponse.create({ member: { id: "4" } }) });
  const made = client({ endpoints: [one.endpoint] });
  const members = await made.getMembers({ consistency: Consistency.SERIALIZABLE });
  expect(members.members[0]?.createRevision).toBe(2n ** 63n);
  expect((await made.getCluster()).quorumSize).toBe(2);
  const target = MemberTarget.STANDBY;
  const input = { name: "n4", peerUrl: "http://a:1", adminUrl: undefined, target };
  expect((await made.addMember(input)).member?.id).toBe("ab");
  expect((await made.updateMember({ id: "2", newPeerUrl: "http://a:2", requestId: "mine" })).member?.id).toBe(
    "2",
  );
  expect((await made.deleteMember({ name: "n3", expectedRevision: 7n })).member?.id).toBe("3");
  expect((await made.updateAdminUrl({ id: "4", adminUrls: ["http://a:3"], note: "why" })).member?.id).toBe(
    "4",
  );
  expect((await made.promoteMember({ name: "n5" })).member?.id).toBe("5");
  const changed = await made.changeMembers({ promote: [{ name: "n6" }], remove: [{ id: "7" }] });
  expect(changed.members[0]?.id).toBe("6");
  const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown;
  const common = { requestId: uuid, expectedRevision: 0n, validateOnly: false, note: "" };
  expect(one.calls).toEqual([
    { rpc: "getMembers", request: { consistency: Consistency.SERIALIZABLE } },
    { rpc: "getCluster", request: { consistency: Consistency.UNSPECIFIED } },
    { rpc: "addMember", request: { ...common, name: "n4", peerUrl: "http://a:1", adminUrl: "", target } },
    {
      rpc: "updateMember",
      request: { ...common, name: "", id: "2", newPeerUrl: "http://a:2", requestId: "mine" },
    },
    { rpc: "deleteMember", request: { ...common, name: "n3", id: "", peerUrl: "", expectedRevision: 7n } },
    {
      rpc: "updateAdminUrl",
      request: { ...common, id: "4", name: "", adminUrls: ["http://a:3"], note: "why" },
    },
    { rpc: "promoteMember", request: { ...common, name: "n5", id: "" } },
    {
      rpc: "changeMembers",
      request: { ...common, promote: [{ name: "n6", id: "" }], demote: [], remove: [{ name: "", id: "7" }] },
    },
  ]);
});

test("a replacement, and settings of which only those given are sent", async () => {
  const one = await server();
  const settings = { autoPromote: false, standbyTakeoverAfter: undefined, removeUnstartedAfter: undefined };
  one
    .on("replaceMember", { respond: ReplaceMemberResponse.create({ member: { id: "4", replaces: "1" } }) })
    .on("updateClusterSettings", { respond: UpdateClusterSettingsResponse.create({ settings }) });
  const made = client({ endpoints: [one.endpoint] });
  const replaced = await made.replaceMember({ id: "1", newName: "n4", peerUrl: "http://a:1" });
  expect(replaced.member?.replaces).toBe("1");
  const takeover = { seconds: 600n, nanos: 0 };
  const changed = await made.updateClusterSettings({ autoPromote: false, standbyTakeoverAfter: takeover });
  expect(changed.settings).toEqual(settings);
  await made.updateClusterSettings({ removeUnstartedAfter: { seconds: 0n, nanos: 0 }, validateOnly: true });
  const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown;
  const common = { requestId: uuid, expectedRevision: 0n, validateOnly: false, note: "" };
  const nothing = {
    autoPromote: undefined,
    standbyTakeoverAfter: undefined,
    removeUnstartedAfter: undefined,
  };
  expect(one.calls.map(({ request }) => request)).toEqual([
    { ...common, name: "", id: "1", newName: "n4", peerUrl: "http://a:1", adminUrl: "" },
    { ...common, ...nothing, autoPromote: false, standbyTakeoverAfter: takeover },
    { ...common, ...nothing, removeUnstartedAfter: { seconds: 0n, nanos: 0 }, validateOnly: true },
  ]);
});

test("every attempt of a write carries the same request_id, and two writes have different ones", async () => {
  const one = await server();
  const unknown = refusal({ code: status.DEADLINE_EXCEEDED, reason: "OUTCOME_UNKNOWN" });
  const dropped = refusal({ code: status.UNAVAILABLE, message: "Connection dropped" });
  one.on("addMember", noLeader(), { fail: unknown }, { fail: dropped }, { respond: added });
  const clock = new FakeClock();
  const made = client({ endpoints: [one.endpoint], clock });
  await expect(made.addMember({ name: "n4", peerUrl: "http://a:1" })).resolves.toEqual(added);
  const ids = one.seen("addMember", "requestId");
  expect(ids).toHaveLength(4);
  expect(new Set(ids).size).toBe(1);
  expect(clock.sleeps).toEqual([50, 100, 200]);
  await made.addMember({ name: "n5", peerUrl: "http://a:2" });
  expect(new Set(one.seen("addMember", "requestId")).size).toBe(2);
});

test.each([
  { code: status.ALREADY_EXISTS, reason: "MEMBER_NAME_EXISTS" },
  { code: status.ABORTED, reason: "REVISION_MISMATCH" },
  { code: status.FAILED_PRECONDITION, reason: "UNHEALTHY_CLUSTER", retryDelay: { seconds: 1n, nanos: 0 } },
  { code: status.INTERNAL, reason: "INTERNAL" },
  { code: status.UNIMPLEMENTED },
])("a refusal is not repeated: %o", async (refused) => {
  const one = await server();
  const two = await server();
  one.on("addMember", { fail: refusal(refused) });
  const made = client({ endpoints: [one.endpoint, two.endpoint], clock: new FakeClock() });
  const error = await failure(made.addMember({ name: "n4", peerUrl: "http://a:1", requestId: "r" }));
  expect(error).toMatchObject({ code: refused.code, reason: refused.reason, requestId: "r" });
  expect(one.calls).toHaveLength(1);
  expect(two.calls).toHaveLength(0);
});

test("the next endpoint is asked at once, and the one that answered is asked first from then on", async () => {
  const [one, two] = [await server(), await server()];
  one.on("getMembers", noLeader());
  two.on("getMembers", { respond: GetMembersResponse.create() });
  const clock = new FakeClock();
  const made = client({ endpoints: [one.endpoint, two.endpoint], clock });
  await made.getMembers();
  await made.getMembers();
  expect([one.calls.length, two.calls.length]).toEqual([1, 2]);
  expect(clock.sleeps).toEqual([]);
});

test("an endpoint where nothing listens is passed over", async () => {
  const one = await server();
  one.on("addMember", { respond: added });
  const made = client({ endpoints: [await deadEndpoint(), one.endpoint], clock: new FakeClock() });
  await expect(made.addMember({ name: "n4", peerUrl: "http://a:1" })).resolves.toEqual(added);
});

test("attempts end with the deadline, and the service's own reason outlives a broken connection", async () => {
  const one = await server();
  const dead = await deadEndpoint();
  one.on("getMembers", noLeader());
  const clock = new FakeClock();
  const error = await failure(
    client({ endpoints: [one.endpoint, dead], timeoutMs: 7000, clock }).getMembers(),
  );
  expect(error).toMatchObject({ code: status.UNAVAILABLE, reason: "NO_LEADER" });
  // The pauses so far add up to 6550 ms; another would end after the deadline.
  expect(clock.sleeps).toEqual([50, 100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000]);
  expect(one.calls).toHaveLength(11);
});

test("a write that certainly changed nothing is not put at stake for the last moments", async () => {
  const one = await server();
  one.on("addMember", noLeader());
  const clock = new FakeClock();
  const made = client({ endpoints: [one.endpoint], timeoutMs: 7000, clock });
  const error = await failure(made.addMember({ name: "n4", peerUrl: "http://a:1" }));
  expect(error).toMatchObject({ code: status.UNAVAILABLE, reason: "NO_LEADER" });
  // After one more pause 450 ms would be left: less than half a second.
  expect(clock.sleeps).toEqual([50, 100, 200, 400, 800, 1000, 1000, 1000, 1000]);
});

test("the server's retry delay is respected, and ends the call when it does not fit", async () => {
  const one = await server();
  const busy = (seconds: bigint): { fail: ReturnType<typeof refusal> } => ({
    fail: refusal({
      code: status.RESOURCE_EXHAUSTED,
      reason: "TOO_MANY_REQUESTS",
      retryDelay: { seconds, nanos: 0 },
    }),
  });
  one.on("addMember", busy(2n), busy(60n));
  const clock = new FakeClock();
  const error = await failure(
    client({ endpoints: [one.endpoint], clock }).addMember({ name: "n4", peerUrl: "http://a:1" }),
  );
  expect(clock.sleeps).toEqual([2000]);
  expect(error).toMatchObject({ reason: "TOO_MANY_REQUESTS", retryDelayMs: 60_000 });
});

describe("a write that may have happened", () => {
  test("ends as OUTCOME_UNKNOWN when the connection broke after sending", async () => {
    const one = await server();
    one.on(
      "addMember",
      { fail: refusal({ code: status.UNAVAILABLE, message: "Connection dropped" }) },
      noLeader(),
    );
    const made = client({ endpoints: [one.endpoint], clock: new FakeClock() });
    const error = await failure(made.addMember({ name: "n4", peerUrl: "http://a:1" }));
    expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED, reason: "OUTCOME_UNKNOWN" });
    expect(error.requestId).toBe(one.seen("addMember", "requestId")[0]);
  });

  test("takes the refusal of a later attempt as the outcome", async () => {
    const one = await server();
    const refused = refusal({ code: status.NOT_FOUND, reason: "MEMBER_REMOVED" });
    one.on("deleteMember", { fail: refusal({ code: status.UNAVAILABLE }) }, { fail: refused });
    const made = client({ endpoints: [one.endpoint], clock: new FakeClock() });
    expect((await failure(made.deleteMember({ name: "n4" }))).reason).toBe("MEMBER_REMOVED");
  });

  test.each([
    ["a read", (made: MusterClient) => made.getMembers()],
    [
      "validate_only",
      (made: MusterClient) => made.addMember({ name: "a", peerUrl: "b", validateOnly: true }),
    ],
  ])("is not %s", async (_name, call) => {
    const one = await server();
    const dropped = { fail: refusal({ code: status.UNAVAILABLE, message: "Connection dropped" }) };
    one.on("getMembers", dropped).on("addMember", dropped);
    const error = await failure(call(client({ endpoints: [one.endpoint], clock: new FakeClock() })));
    expect(error).toMatchObject({ code: status.UNAVAILABLE, reason: undefined });
  });

  test("is not one that found no connection", async () => {
    const made = client({ endpoints: [await deadEndpoint()], clock: new FakeClock() });
    const error = await failure(made.addMember({ name: "n4", peerUrl: "http://a:1" }));
    expect(error).toMatchObject({ code: status.UNAVAILABLE, reason: undefined, sent: false });
    expect(error.message).toContain("ECONNREFUSED");
  });
});

test("waitForConnection false: one round over dead endpoints is enough", async () => {
  const clock = new FakeClock();
  const endpoints = [await deadEndpoint(), await deadEndpoint()];
  const error = await failure(client({ endpoints, clock, waitForConnection: false }).getMembers());
  expect(error).toMatchObject({ code: status.UNAVAILABLE, sent: false });
  for (const endpoint of endpoints)
    expect(error.message).toContain(`no connection to ${endpoint}: connect ECONNREFUSED`);
  expect(clock.sleeps).toEqual([]);
});

test("https:// is never spoken in the clear", async () => {
  const one = await server();
  one.on("getMembers", { respond: GetMembersResponse.create() });
  const made = client({
    endpoints: [`https://${one.endpoint.replace("127.0.0.1", "localhost")}`],
    clock: new FakeClock(),
    waitForConnection: false,
  });
  expect(await failure(made.getMembers())).toMatchObject({ code: status.UNAVAILABLE, sent: false });
  expect(one.calls).toEqual([]);
});

test("an address that takes connections and says nothing is not one that was sent to", async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as AddressInfo;
  const made = client({ endpoints: [`127.0.0.1:${String(port)}`], timeoutMs: 30, clock: new FakeClock() });
  const error = await failure(made.addMember({ name: "n4", peerUrl: "http://a:1" }));
  expect(error).toMatchObject({ code: status.UNAVAILABLE, reason: undefined, sent: false });
  expect(error.message).toContain("not established in time");
  made.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
});

test("a call that never gets an answer ends with the attempt's deadline", async () => {
  const one = await server();
  one.on("getMembers", { respond: GetMembersResponse.create() }, { hang: true });
  const made = client({ endpoints: [one.endpoint], clock: new FakeClock() });
  await made.getMembers(); // connects
  // grpc-js ends the attempt at its deadline; the pause after it does not fit into the time of the call.
  const error = await failure(made.getMembers({}, { timeoutMs: 30 }));
  expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED, reason: undefined });
});

test("a cancelled call ends as CANCELLED and is not repeated", async () => {
  const one = await server();
  one.on("getMembers", { hang: true });
  const made = client({ endpoints: [one.endpoint], clock: new FakeClock() });
  const abort = new AbortController();
  const pending = failure(made.getMembers({}, { signal: abort.signal }));
  while (one.calls.length === 0) await new Promise((resolve) => setImmediate(resolve));
  abort.abort();
  expect(await pending).toMatchObject({ code: status.CANCELLED, message: "the caller cancelled the call" });
  expect(one.calls).toHaveLength(1);
});

test("a closed client refuses calls and ends those in flight", async () => {
  const one = await server();
  one.on("getMembers", { hang: true });
  const made = client({ endpoints: [one.endpoint], clock: new FakeClock() });
  const pending = failure(made.getMembers());
  while (one.calls.length === 0) await new Promise((resolve) => setImmediate(resolve));
  made.close();
  expect(await pending).toMatchObject({ code: status.CANCELLED, message: "the client is closed" });
  expect(await failure(made.getMembers())).toMatchObject({ code: status.CANCELLED });
});

test("close() does not wait for a pause to pass", async () => {
  const one = await server();
  one.on("getMembers", noLeader());
  // This sleep ends only when its signal is aborted.
  const clock = {
    now: () => 0,
    sleep: (_ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve) => {
        signal?.addEventListener("abort", () => {
          resolve();
        });
        made.close();
      }),
  };
  const made = client({ endpoints: [one.endpoint], clock });
  expect(await failure(made.getMembers())).toMatchObject({ message: "the client is closed" });
});

test("a value that can't be encoded is refused without an attempt to repeat it", async () => {
  const one = await server();
  const clock = new FakeClock();
  const made = client({ endpoints: [one.endpoint], clock });
  const error = await failure(made.deleteMember({ name: "a", expectedRevision: -1n }));
  expect(error.message).toContain("expectedRevision");
  expect(clock.sleeps).toEqual([]);
  expect(one.calls).toEqual([]);
});
