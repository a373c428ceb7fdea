/** The unary calls between members: who is here, and Publish over a backend that decides nothing. */
import {
  HelloRequest,
  PublishRequest,
  RaftServiceService,
} from "../../src/generated/muster/raft/v1/raft_service";
import { RpcError, StatusCode } from "../../src/rpc/rpc_error";
import { raftHandlers, raftUnaryService } from "../../src/services/raft";
import { CLUSTER_ID } from "../roster/support/log";
import { CountingRandom, FakeBackend, WALL_MS, callOf, refusalOf } from "./support/fake_backend";

const OWN = Buffer.alloc(16, 1);

let fake: FakeBackend;
let random: CountingRandom;
let hasJoined: boolean;
let handlers: ReturnType<typeof raftHandlers>;

beforeEach(() => {
  fake = new FakeBackend();
  random = new CountingRandom();
  hasJoined = true;
  handlers = raftHandlers({
    name: "n1",
    peerUrl: "http://10.0.0.1:7461",
    backend: () => (hasJoined ? { ...fake.backend, instances: { own: OWN, metAnother: () => false } } : null),
    random,
    wallNow: () => WALL_MS,
  });
});

const good: PublishRequest = {
  ...PublishRequest.fromPartial({}),
  clusterId: CLUSTER_ID,
  memberId: 2n,
  instanceId: Buffer.alloc(16, 7),
  adminUrls: ["http://10.0.0.2:7460"],
  version: "1.2.3",
  requestId: "start-1",
};

const publish = (changes: Partial<PublishRequest> = {}): Promise<unknown> =>
  handlers.publish({ ...good, ...changes }, callOf("Publish"));

test("the unary methods are Publish and Hello", () => {
  expect(Object.values(raftUnaryService).map(({ path }) => path)).toEqual([
    "/muster.raft.v1.RaftService/Publish",
    "/muster.raft.v1.RaftService/Hello",
  ]);
});

const NOBODY = HelloRequest.fromPartial({});

test("hello says who is here, and while it waits to join that it does", async () => {
  expect(await handlers.hello(NOBODY, callOf("Hello"))).toMatchObject({
    name: "n1",
    clusterId: CLUSTER_ID,
    memberId: 1n,
    waitingToJoin: false,
    instanceId: OWN,
    peerUrl: "http://10.0.0.1:7461",
  });
  hasJoined = false;
  expect(await handlers.hello(NOBODY, callOf("Hello"))).toMatchObject({
    name: "n1",
    clusterId: 0n,
    memberId: 0n,
    waitingToJoin: true,
    instanceId: Buffer.alloc(0),
    peerUrl: "http://10.0.0.1:7461",
  });
});

describe("publish", () => {
  test("without a backend: SERVER_STOPPING", async () => {
    hasJoined = false;
    const { refusal } = await refusalOf(publish());
    expect(refusal).toMatchObject({
      reason: "SERVER_STOPPING",
      message: "this member waits to join a cluster, and serves nothing yet",
    });
  });

  test("is one write, answered with its revision", async () => {
    expect(await publish()).toEqual({ revision: 77 });
    const [write] = fake.writes;
    expect(write?.validateOnly).toBe(false);
    expect(write?.commands[0]).toMatchObject({
      requestId: "start-1",
      timeMs: WALL_MS,
      body: {
        $case: "publish",
        value: {
          id: 2n,
          instanceId: good.instanceId,
          adminUrls: ["http://10.0.0.2:7460"],
          version: "1.2.3",
        },
      },
    });
    expect(write?.commands[0]?.proposalId).not.toBe(write?.commands[1]?.proposalId);
  });

  test("is forwarded as it came; the leader's command has the same request_id and fingerprint", async () => {
    await publish();
    const forward = fake.writes[0]?.forwards[0];
    expect(forward?.path).toBe(RaftServiceService.publish.path);
    const sent = PublishRequest.decode(forward?.body ?? new Uint8Array());
    expect(sent).toEqual(good);
    await handlers.publish(sent, callOf("Publish"));
    const [here, there] = fake.writes.map(({ commands }) => commands[0]);
    expect(here?.fingerprint.length).toBe(32);
    expect([there?.requestId, there?.fingerprint]).toEqual([here?.requestId, here?.fingerprint]);
    await publish({ version: "1.2.4" });
    expect(fake.writes[2]?.commands[0]?.fingerprint).not.toEqual(here?.fingerprint);
  });

  test.each([
    [{ instanceId: Buffer.alloc(15) }, ["instance_id"]],
    [{ instanceId: Buffer.alloc(0) }, ["instance_id"]],
    [{ version: "" }, ["version"]],
    [{ version: "v".repeat(65) }, ["version"]],
    [{ version: "1.0\u0000" }, ["version"]],
    [{ adminUrls: [] }, ["admin_urls"]],
    [{ adminUrls: Array.from({ length: 33 }, (_, i) => `http://h:${i + 1}`) }, ["admin_urls"]],
    [{ adminUrls: ["http://h:1", "http://H:1"] }, ["admin_urls[1]"]],
    [{ adminUrls: ["http://0.0.0.0:7460"] }, ["admin_urls[0]"]],
    [{ requestId: "" }, ["request_id"]],
    [{ requestId: "\u00e9" }, ["request_id"]],
    [{ requestId: "x".repeat(65) }, ["request_id"]],
    [{ adminUrls: ["http://h:1", "nonsense", "http://h"] }, ["admin_urls[1]", "admin_urls[2]"]],
    [
      { instanceId: Buffer.alloc(1), version: "", requestId: "", adminUrls: [""] },
      ["instance_id", "version", "request_id", "admin_urls[0]"],
    ],
  ])("with errors of form names the fields, and goes no further: %j", async (wrong, fields) => {
    const { refusal } = await refusalOf(publish(wrong));
    expect(refusal.reason).toBe("INVALID_REQUEST");
    expect(refusal.violations?.map(({ field }) => field)).toEqual(fields);
    expect([fake.writes, random.drawn]).toEqual([[], 0]);
  });

  test("takes what is at the limits", async () => {
    await publish({ version: "v".repeat(64), requestId: "x".repeat(64) });
    expect(fake.writes).toHaveLength(1);
  });

  test("of a member of another cluster: CLUSTER_ID_MISMATCH, with both ids", async () => {
    const failure = await publish({ clusterId: 0xabcn }).then(
      () => null,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(RpcError);
    expect(failure).toMatchObject({ code: StatusCode.FAILED_PRECONDITION, reason: "CLUSTER_ID_MISMATCH" });
    expect((failure as RpcError).message).toContain("cluster c1, the sender to abc");
    expect(fake.writes).toEqual([]);
  });
});
