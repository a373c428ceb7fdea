/**
 * A client of version 0.2.0, by the contract of then (test/fixtures/v0.2.0/contract.binpb) through @grpc/proto-loader, at
 * members of this version: every call of then works, in a cluster that uses what came later.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { credentials, loadPackageDefinition, status } from "@grpc/grpc-js";
import type { Client, ClientReadableStream, GrpcObject, ServiceError } from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import { MemberTarget } from "../../src/generated/muster/v1/member";
import { TestCluster, callUnary, refusal, until } from "./support/cluster";
import type { TestMember, Unary } from "./support/cluster";

jest.setTimeout(60_000);

const contract = readFileSync(resolve(__dirname, "../fixtures/v0.2.0/contract.binpb"));
const NAMES = ["MembershipService", "MaintenanceService"] as const;
const OPTIONS = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };

/** A message as proto-loader makes it. */
interface Message {
  readonly [field: string]: unknown;
  readonly header?: { readonly revision: string };
  readonly member?: Message;
  readonly members?: readonly Message[];
}

/** The stubs of the old contract, and the names of the calls that were made with them. */
class OldClient {
  readonly called = new Set<string>();
  private readonly stubs: Readonly<Record<string, Client>>;

  constructor(member: TestMember) {
    const loaded = loadPackageDefinition(loadFileDescriptorSetFromBuffer(contract, OPTIONS));
    const services = (loaded["muster"] as GrpcObject)["v1"] as GrpcObject;
    const stub = (name: string): Client => {
      const service = services[name] as unknown as new (host: string, creds: unknown) => Client;
      return new service(new URL(member.config.adminUrl).host, credentials.createInsecure());
    };
    this.stubs = Object.fromEntries(NAMES.map((name) => [name, stub(name)]));
  }

  call = (method: string, request: Message = {}): Promise<Message> => {
    return callUnary(this.bound("MembershipService", method) as Unary<Message, Message>, request);
  };

  /** The first messages of a stream, as many as asked for. */
  async read(
    service: (typeof NAMES)[number],
    method: string,
    count: number,
    request: Message = {},
  ): Promise<Message[]> {
    const open = this.bound(service, method) as (request: Message) => ClientReadableStream<Message>;
    const stream = open(request);
    const messages: Message[] = [];
    let error: ServiceError | null = null;
    stream.on("data", (message: Message) => messages.push(message));
    stream.on("error", (failure: ServiceError) => (error = failure));
    await until(`${count} messages of ${method}`, () => messages.length >= count || error !== null);
    stream.cancel();
    return messages;
  }

  close(): void {
    for (const stub of Object.values(this.stubs)) stub.close();
  }

  private bound(service: string, method: string): unknown {
    this.called.add(`${service}.${method}`);
    const stub = this.stubs[service] as unknown as Record<string, (...args: unknown[]) => unknown>;
    return stub[method]?.bind(stub);
  }
}

/** Every call of the old contract. */
function callsOfThen(): string[] {
  const loaded = loadFileDescriptorSetFromBuffer(contract);
  return NAMES.flatMap((name) =>
    Object.keys(loaded[`muster.v1.${name}`] as object).map((method) => `${name}.${method}`),
  );
}

let cluster: TestCluster;
let old: OldClient;
let leader: TestMember;
let addedSpare = "";

/** A cluster with a standby and changed settings, and a client at a follower. */
beforeAll(async () => {
  cluster = await TestCluster.start(3);
  leader = await cluster.stable();
  const [follower = leader] = await cluster.followers();
  old = new OldClient(follower);
  const spare = { name: "spare", peerUrl: "http://127.0.0.1:1", target: MemberTarget.STANDBY };
  addedSpare = String((await leader.addMember(spare)).header?.revision);
  const { client } = leader;
  const settings = { autoPromote: true, standbyTakeoverAfter: { seconds: 3600n, nanos: 0 } };
  const write = { requestId: "", expectedRevision: 0n, validateOnly: false, note: "" };
  await callUnary(client.updateClusterSettings.bind(client), {
    ...settings,
    removeUnstartedAfter: undefined,
    ...write,
  });
});
afterAll(() => {
  old.close();
  return cluster.stop();
});

test("every call of then works", async () => {
  const before = await old.call("GetMembers");
  expect(before.members?.map(({ name }) => name)).toContain("spare");
  expect(before.members?.every((member) => !("target" in member))).toBe(true);
  const state = await old.call("GetCluster");
  expect(state).toMatchObject({ quorum_size: 2, failures_tolerated_known: true });
  expect(Object.keys(state)).not.toContain("settings");

  const add = { name: "n4", peer_url: "http://127.0.0.1:2", request_id: "old-1" };
  const added = await old.call("AddMember", add);
  expect(added.member).toMatchObject({ name: "n4", role: "MEMBER_ROLE_LEARNER", started: false });
  const expected_revision = added.header?.revision;
  expect((await old.call("AddMember", add)).header?.revision).toBe(expected_revision);
  const update = { name: "n4", new_peer_url: "http://127.0.0.1:3", expected_revision };
  expect((await old.call("UpdateMember", update)).member).toMatchObject({ peer_urls: [update.new_peer_url] });
  await refusal(old.call("UpdateMember", update), status.ABORTED, "REVISION_MISMATCH");
  const admin = { name: "n4", admin_urls: ["http://127.0.0.1:4"], note: "of then" };
  expect((await old.call("UpdateAdminURL", admin)).member).toMatchObject({ admin_urls: admin.admin_urls });
  const removal = { name: "n4", validate_only: true };
  expect((await old.call("DeleteMember", removal)).members).toHaveLength(5);
  expect((await old.call("DeleteMember", { name: "n4" })).members).toHaveLength(4);
  const other = cluster.members.find((member) => member !== leader)?.name ?? "";
  const { leader: next } = await old.call("TransferLeadership", { name: other });
  expect(next).toMatchObject({ name: other });

  const [roster] = await old.read("MembershipService", "WatchMembers", 1);
  expect(roster).toMatchObject({ part: "roster" });
  // An event of a kind that came later has its number, and nothing that is not so.
  const [past] = await old.read("MembershipService", "WatchMembers", 1, { start_revision: addedSpare });
  const { events: [settings] = [] } = past?.["events"] as { events?: Message[] };
  const unset = { member: null, previous: null };
  expect(settings).toMatchObject({ revision: before.header?.revision, kind: 6, ...unset });
  const file = await old.read("MaintenanceService", "SaveSnapshot", 3);
  expect(file.map(({ part }) => part)).toEqual(["header", "chunk", "trailer"]);
  expect([...old.called].sort()).toEqual(callsOfThen().sort());
});

test("a refusal with a reason that came later has its status code, and the reason as text", async () => {
  for (let n = 0; n < 31; n++)
    await old.call("AddMember", { name: `l${n}`, peer_url: `http://127.0.0.2:${n + 1}` });
  const one = { name: "l31", peer_url: "http://127.0.0.2:32" };
  await refusal(old.call("AddMember", one), status.FAILED_PRECONDITION, "TOO_MANY_LEARNERS");
});
