/**
 * A generic gRPC tool without our contract: `buf curl` gets the contract by reflection from a follower, makes every call,
 * and shows an error with its details.
 */
import { join } from "node:path";
import { BadRequest, ErrorInfo } from "../../src/generated/google/rpc/error_details";
import { ProcessCluster } from "./support/process_cluster";
import { Child, ensureBuilt, killLeftovers, ROOT } from "./support/processes";
import type { MemberProcess } from "./support/process_cluster";

const BUF = join(ROOT, "node_modules/.bin/buf");
const SERVICE = "muster.v1.MembershipService";

interface JsonMember {
  readonly id: string;
  readonly name: string;
  readonly peerUrls?: readonly string[];
  readonly adminUrls?: readonly string[];
}
interface JsonAnswer {
  readonly header: { readonly clusterId: string; readonly memberId: string; readonly revision: string };
  readonly member?: JsonMember;
  readonly members?: readonly (JsonMember & { readonly member?: JsonMember; readonly isLeader?: boolean })[];
  readonly quorumSize?: number;
}

let cluster: ProcessCluster;
let follower: MemberProcess;
let leader: MemberProcess;

beforeAll(async () => {
  ensureBuilt();
  cluster = await ProcessCluster.start(3);
  leader = await cluster.leader();
  follower = await cluster.follower();
}, 180_000);
afterAll(async () => {
  await cluster?.destroy();
  await killLeftovers();
});

async function curl(method: string, body: object) {
  const words = ["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", JSON.stringify(body)];
  const child = new Child(BUF, [...words, `${follower.adminUrl}/${SERVICE}/${method}`]);
  const { code } = await child.end();
  return { code, stdout: child.stdout, stderr: child.stderr };
}

async function answer(method: string, body: object): Promise<JsonAnswer> {
  const { code, stdout, stderr } = await curl(method, body);
  expect({ method, code, stderr }).toEqual({ method, code: 0, stderr: "" });
  return JSON.parse(stdout) as JsonAnswer;
}

function names(response: JsonAnswer): string[] {
  return (response.members ?? []).map(({ name }) => name).sort();
}

describe("buf curl through reflection, at a follower", () => {
  test("lists the service", async () => {
    const words = [
      "curl",
      "--protocol",
      "grpc",
      "--http2-prior-knowledge",
      "--list-services",
      follower.adminUrl,
    ];
    const child = new Child(BUF, words);
    expect(await child.end()).toEqual({ code: 0, signal: null });
    expect(child.stdout.split("\n")).toEqual(expect.arrayContaining([SERVICE, "grpc.health.v1.Health"]));
  }, 60_000);

  test("GetMembers and GetCluster", async () => {
    const members = await answer("GetMembers", {});
    expect(names(members)).toEqual(["n1", "n2", "n3"]);
    const own = members.members?.find(({ name }) => name === follower.name);
    expect(members.header.memberId).toBe(own?.id);
    expect(own).toMatchObject({ peerUrls: [follower.spec.peerUrl], adminUrls: [follower.adminUrl] });

    const status = await answer("GetCluster", { consistency: "CONSISTENCY_LINEARIZABLE" });
    expect(status.quorumSize).toBe(2);
    expect(status.members?.filter(({ isLeader }) => isLeader).map(({ member }) => member?.name)).toEqual([
      leader.name,
    ]);
    const local = await answer("GetCluster", { consistency: "CONSISTENCY_SERIALIZABLE" });
    expect(local.header.memberId).toBe(own?.id);
  }, 60_000);

  test("AddMember, UpdateMember, UpdateAdminURL and DeleteMember", async () => {
    const added = await answer("AddMember", { name: "n4", peerUrl: "http://127.0.0.1:9", requestId: "add" });
    expect(names(added)).toEqual(["n1", "n2", "n3", "n4"]);
    const id = added.member?.id;
    expect(id).toMatch(/^[1-9a-f][0-9a-f]{0,15}$/);
    const moved = await answer("UpdateMember", { id, newPeerUrl: "http://127.0.0.1:19" });
    expect(moved.member).toMatchObject({ id, name: "n4", peerUrls: ["http://127.0.0.1:19"] });
    const published = await answer("UpdateAdminURL", { name: "n4", adminUrls: ["http://127.0.0.1:29"] });
    expect(published.member).toMatchObject({ id, adminUrls: ["http://127.0.0.1:29"] });
    expect(BigInt(published.header.revision)).toBeGreaterThan(BigInt(moved.header.revision));
    // The repeated request gets the first outcome, and adds no second member.
    const repeated = await answer("AddMember", {
      name: "n4",
      peerUrl: "http://127.0.0.1:9",
      requestId: "add",
    });
    expect(repeated.member?.id).toBe(id);
    expect(repeated.header.revision).toBe(added.header.revision);
    const removed = await answer("DeleteMember", { name: "n4", peerUrl: "http://127.0.0.1:19" });
    expect(removed.member).toMatchObject({ id, name: "n4" });
    expect(names(removed)).toEqual(["n1", "n2", "n3"]);
  }, 60_000);

  test("an error shows its reason, its metadata and the fields", async () => {
    const taken = shown(await curl("AddMember", { name: "n1", peerUrl: "http://127.0.0.1:9" }));
    expect(taken.code).toBe("already_exists");
    expect(taken.message).toContain('"n1"');
    expect(taken.details.map(({ type }) => type)).toEqual(["google.rpc.ErrorInfo"]);
    const info = ErrorInfo.decode(detail(taken, "google.rpc.ErrorInfo"));
    expect(info).toMatchObject({ reason: "MEMBER_NAME_EXISTS", domain: "muster.v1" });
    expect(info.metadata.get("name")).toBe("n1");

    const invalid = shown(await curl("AddMember", { name: "n 4", peerUrl: "ftp://x" }));
    expect(invalid.code).toBe("invalid_argument");
    expect(ErrorInfo.decode(detail(invalid, "google.rpc.ErrorInfo")).reason).toBe("INVALID_REQUEST");
    const { fieldViolations } = BadRequest.decode(detail(invalid, "google.rpc.BadRequest"));
    expect(fieldViolations.map(({ field }) => field)).toEqual(["name", "peer_url"]);
  }, 60_000);
});

/** An error as buf prints it, with details by type, in base64. */
interface ShownError {
  readonly code: string;
  readonly message: string;
  readonly details: readonly { readonly type: string; readonly value: string }[];
}

function shown({
  code,
  stdout,
  stderr,
}: {
  code: number | null;
  stdout: string;
  stderr: string;
}): ShownError {
  expect({ failed: code !== 0, stdout }).toEqual({ failed: true, stdout: "" });
  return JSON.parse(stderr) as ShownError;
}

function detail({ details }: ShownError, type: string): Buffer {
  return Buffer.from(details.find((one) => one.type === type)?.value ?? "", "base64");
}
