/**
 * A cluster in this process: real members (startMember), real sockets on loopback, real data directories in a temporary
 * folder; short intervals, so that elections take a fraction of a second. Tests wait for conditions, never for time.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Metadata, credentials, status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../../../src/generated/google/rpc/error_details";
import { Status } from "../../../src/generated/google/rpc/status";
import { MembershipServiceClient } from "../../../src/generated/muster/v1/membership_service";
import type { MemberSelector } from "../../../src/generated/muster/v1/membership_service";
import { MemberTarget } from "../../../src/generated/muster/v1/member";
import type { ServerConfig } from "../../../src/server/config";
import { silentLog } from "../../../src/base/log";
import type { MemberDeps } from "../../../src/server/deps";
import { startMember } from "../../../src/server/member";
import type { Member } from "../../../src/server/member";
import type { Replica } from "../../../src/replica/replica";
import type { Roster } from "../../../src/roster/index";
import { STATUS_DETAILS_KEY } from "../../../src/rpc/error_details";

export const HEARTBEAT_MS = 20;
export const ELECTION_MS = 200;

/** Different ports that were free when they were checked. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve, reject) => {
        server.once("error", reject);
        server.listen(0, "127.0.0.1", () => {
          resolve(server);
        });
      });
    }),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return address.port;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Settles when `condition` holds; fails with `what` after `timeoutMs`. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 15_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${String(timeoutMs)} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A gRPC error with its details decoded. */
export interface WireError {
  readonly code: number;
  readonly details: string;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly { readonly field: string; readonly description: string }[];
  /** Null without RetryInfo. */
  readonly retryDelayMs: number | null;
}

export function readError(error: ServiceError): WireError {
  const packed = error.metadata.get(STATUS_DETAILS_KEY)[0];
  const details = packed === undefined ? [] : Status.decode(packed as Buffer).details;
  const find = (name: string): Buffer | undefined =>
    details.find((any) => any.typeUrl.endsWith(`/${name}`))?.value;
  const info = find("google.rpc.ErrorInfo");
  const bad = find("google.rpc.BadRequest");
  const retry = find("google.rpc.RetryInfo");
  const delay = retry === undefined ? undefined : RetryInfo.decode(retry).retryDelay;
  const decoded = info === undefined ? null : ErrorInfo.decode(info);
  return {
    code: error.code,
    details: error.details,
    reason: decoded?.reason ?? "",
    metadata: Object.fromEntries(decoded?.metadata ?? []),
    violations: bad === undefined ? [] : BadRequest.decode(bad).fieldViolations,
    retryDelayMs: delay === undefined ? null : Number(delay.seconds) * 1000 + delay.nanos / 1e6,
  };
}

/** A unary method of the generated stub. */
export type Unary<Req, Res> = (
  request: Req,
  metadata: Metadata,
  options: { deadline: number },
  done: (error: ServiceError | null, response: Res) => void,
) => unknown;

export interface CallOptions {
  readonly timeoutMs?: number;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Settles with the response; rejects with a ServiceError. */
export function callUnary<Req, Res>(
  method: Unary<Req, Res>,
  request: Req,
  options: CallOptions = {},
): Promise<Res> {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
  return new Promise((resolve, reject) => {
    method(request, metadata, { deadline: Date.now() + (options.timeoutMs ?? 10_000) }, (error, response) => {
      if (error === null) resolve(response);
      else reject(error);
    });
  });
}

/** Awaits a call that must fail. Settles with the error. */
export async function failure(call: Promise<unknown>): Promise<WireError> {
  try {
    await call;
  } catch (error) {
    return readError(error as ServiceError);
  }
  throw new Error("the call succeeded, but was to be refused");
}

/** Awaits a call that must fail with this code and reason. Settles with the error. */
export async function refusal(call: Promise<unknown>, code: status, reason: string): Promise<WireError> {
  const error = await failure(call);
  expect({ code: status[error.code], reason: error.reason, details: error.details }).toEqual({
    code: status[code],
    reason,
    details: error.details,
  });
  return error;
}

/** Options of the members of one test cluster. */
export interface ClusterOptions {
  readonly deps?: Partial<MemberDeps>;
  /** Dependencies of the member with the given name; they override `deps`. @default none */
  readonly depsOf?: (name: string) => Partial<MemberDeps>;
  readonly config?: Partial<ServerConfig>;
}

/** One member of the test cluster, running or not. */
export class TestMember {
  server: Member | null = null;
  /** The exit code when the member has ended by itself; null before. */
  exitCode: number | null = null;
  private clientNow: MembershipServiceClient | null = null;

  constructor(
    readonly config: ServerConfig,
    private readonly deps: Partial<MemberDeps>,
  ) {}

  get name(): string {
    return this.config.name;
  }

  /** The running server. */
  get running(): Member {
    if (this.server === null) throw new Error(`${this.name} does not run`);
    return this.server;
  }

  get replica(): Replica {
    return this.running.cluster.replica;
  }

  /** The current roster of this member. */
  get roster(): Roster {
    return this.running.cluster.rosterMachine.roster;
  }

  get id(): string {
    return this.replica.id.toString(16);
  }

  async start(overrides: Partial<ServerConfig> = {}): Promise<void> {
    const server = await startMember({ ...this.config, ...overrides }, { log: silentLog, ...this.deps });
    this.server = server;
    this.exitCode = null;
    void server.exited.then((code) => {
      this.exitCode = code;
    });
  }

  async stop(): Promise<void> {
    const server = this.server;
    this.server = null;
    this.closeClient();
    await server?.stop();
  }

  /** Waits until the member has ended by itself. @returns the exit code */
  async ended(): Promise<number> {
    const code = await this.running.exited;
    await this.stop();
    return code;
  }

  /** Stops the member and deletes its data directory. */
  async wipe(): Promise<void> {
    await this.stop();
    rmSync(this.config.dataDir, { recursive: true, force: true });
  }

  /** Closes the client; the next call opens a new connection. */
  closeClient(): void {
    this.clientNow?.close();
    this.clientNow = null;
  }

  /** A client of the admin listener. */
  get client(): MembershipServiceClient {
    this.clientNow ??= new MembershipServiceClient(
      new URL(this.config.adminUrl).host,
      credentials.createInsecure(),
      {
        "grpc.use_local_subchannel_pool": 1,
      },
    );
    return this.clientNow;
  }

  getMembers = (consistency: 0 | 1 | 2 = 0, options?: CallOptions) =>
    callUnary(this.client.getMembers.bind(this.client), { consistency }, options);
  getCluster = (consistency: 0 | 1 | 2 = 0, options?: CallOptions) =>
    callUnary(this.client.getCluster.bind(this.client), { consistency }, options);
  addMember = (
    request: Partial<Parameters<MembershipServiceClient["addMember"]>[0]>,
    options?: CallOptions,
  ) => callUnary(this.client.addMember.bind(this.client), { ...NO_ADD, ...request }, options);
  updateMember = (
    request: Partial<Parameters<MembershipServiceClient["updateMember"]>[0]>,
    options?: CallOptions,
  ) => callUnary(this.client.updateMember.bind(this.client), { ...NO_UPDATE, ...request }, options);
  deleteMember = (
    request: Partial<Parameters<MembershipServiceClient["deleteMember"]>[0]>,
    options?: CallOptions,
  ) => callUnary(this.client.deleteMember.bind(this.client), { ...NO_DELETE, ...request }, options);
  promoteMember = (
    request: Partial<Parameters<MembershipServiceClient["promoteMember"]>[0]>,
    options?: CallOptions,
  ) => callUnary(this.client.promoteMember.bind(this.client), { ...NO_PROMOTE, ...request }, options);
  changeMembers = (
    request: Partial<Parameters<MembershipServiceClient["changeMembers"]>[0]>,
    options?: CallOptions,
  ) => callUnary(this.client.changeMembers.bind(this.client), { ...NO_CHANGE, ...request }, options);
  replaceMember = (
    request: Partial<Parameters<MembershipServiceClient["replaceMember"]>[0]>,
    options?: CallOptions,
  ) => callUnary(this.client.replaceMember.bind(this.client), { ...NO_REPLACE, ...request }, options);
  updateSettings = (
    request: Partial<Parameters<MembershipServiceClient["updateClusterSettings"]>[0]>,
    options?: CallOptions,
  ) =>
    callUnary(this.client.updateClusterSettings.bind(this.client), { ...NO_SETTINGS, ...request }, options);
  updateAdminUrl = (
    request: Partial<Parameters<MembershipServiceClient["updateAdminUrl"]>[0]>,
    options?: CallOptions,
  ) => callUnary(this.client.updateAdminUrl.bind(this.client), { ...NO_ADMIN, ...request }, options);
}

const NO_WRITE = { requestId: "", expectedRevision: 0n, validateOnly: false, note: "" };
const NO_ADD = { name: "", peerUrl: "", adminUrl: "", target: MemberTarget.UNSPECIFIED, ...NO_WRITE };
const NO_UPDATE = { name: "", id: "", newPeerUrl: "", ...NO_WRITE };
const NO_DELETE = { name: "", id: "", peerUrl: "", ...NO_WRITE };
const NO_PROMOTE = { name: "", id: "", ...NO_WRITE };
const NO_CHANGE = {
  promote: [] as MemberSelector[],
  demote: [] as MemberSelector[],
  remove: [] as MemberSelector[],
  ...NO_WRITE,
};
const NO_REPLACE = { name: "", id: "", newName: "", peerUrl: "", adminUrl: "", ...NO_WRITE };
const NO_SETTINGS = {
  autoPromote: undefined,
  standbyTakeoverAfter: undefined,
  removeUnstartedAfter: undefined,
  ...NO_WRITE,
};
const NO_ADMIN = { id: "", name: "", adminUrls: [] as string[], ...NO_WRITE };

export class TestCluster {
  readonly members: TestMember[] = [];
  private constructor(
    readonly folder: string,
    private readonly options: ClusterOptions,
  ) {}

  /** Starts `size` members n1, n2, ... as a new cluster and waits until all have published themselves. */
  static async start(size: number, options: ClusterOptions = {}): Promise<TestCluster> {
    const cluster = await TestCluster.prepare(size, options);
    await Promise.all(cluster.members.map((member) => member.start()));
    await cluster.settled();
    return cluster;
  }

  /** Creates the members without starting them. */
  static async prepare(size: number, options: ClusterOptions = {}): Promise<TestCluster> {
    const cluster = new TestCluster(mkdtempSync(join(tmpdir(), "muster-test-")), options);
    const ports = await freePorts(2 * size);
    const url = (i: number): string => `http://127.0.0.1:${String(ports[i])}`;
    const names = Array.from({ length: size }, (_, i) => `n${String(i + 1)}`);
    const initialCluster = names.map((name, i) => ({ name, peerUrl: url(2 * i + 1) }));
    for (const [i, name] of names.entries())
      cluster.add(name, url(2 * i), url(2 * i + 1), initialCluster, "new");
    return cluster;
  }

  private add(
    name: string,
    adminUrl: string,
    peerUrl: string,
    initialCluster: ServerConfig["initialCluster"],
    initialClusterState: "new" | "existing",
  ): TestMember {
    const member = new TestMember(
      {
        name,
        adminUrl,
        peerUrl,
        heartbeatMs: HEARTBEAT_MS,
        electionMs: ELECTION_MS,
        initialCluster,
        initialClusterState,
        initialClusterToken: "",
        dataDir: join(this.folder, name),
        logLevel: "info",
        ...this.options.config,
      },
      { ...this.options.deps, ...this.options.depsOf?.(name) },
    );
    this.members.push(member);
    return member;
  }

  /** A member that is to join the cluster; not started. */
  async joiner(name: string): Promise<TestMember> {
    const [admin, peer] = await freePorts(2);
    const peerUrl = `http://127.0.0.1:${String(peer)}`;
    const known = this.running.map((member) => ({ name: member.name, peerUrl: member.config.peerUrl }));
    return this.add(
      name,
      `http://127.0.0.1:${String(admin)}`,
      peerUrl,
      [...known, { name, peerUrl }],
      "existing",
    );
  }

  member(name: string): TestMember {
    const found = this.members.find((member) => member.name === name);
    if (found === undefined) throw new Error(`no member ${name}`);
    return found;
  }

  get running(): TestMember[] {
    return this.members.filter((member) => member.server !== null);
  }

  /** Waits until a running member is leader and all running members know it, and returns that member. */
  async leader(): Promise<TestMember> {
    let found: TestMember | undefined;
    await until("a leader that all running members know", () => {
      found = this.running.find((member) => member.replica.isLeader);
      return found !== undefined && this.running.every((m) => m.replica.leader === found?.replica.id);
    });
    if (found === undefined) throw new Error("no leader");
    return found;
  }

  async followers(): Promise<TestMember[]> {
    const leader = await this.leader();
    return this.running.filter((member) => member !== leader);
  }

  /** Waits until every running member is started in every running member's roster, and all have applied the same. */
  async settled(): Promise<void> {
    await this.leader();
    await until("all members published, rosters equal", () => {
      const rosters = this.running.map((member) => member.roster);
      const first = rosters[0];
      return rosters.every(
        (roster) =>
          roster.appliedIndex === first?.appliedIndex &&
          this.running.every((member) => roster.member(member.replica.id)?.started === true),
      );
    });
  }

  /** Waits until every running member votes, those that were added included, and all have applied the same. */
  async voting(): Promise<void> {
    await until("all members vote", () =>
      this.running.every(({ roster }) =>
        this.running.every((member) => roster.member(member.replica.id)?.learner === false),
      ),
    );
    await this.settled();
  }

  /** Waits until all running members have applied the same index, and checks that their rosters are equal. */
  async agreed(): Promise<void> {
    await until("all running members hold the same roster", () => {
      const rosters = this.running.map((member) => member.roster);
      return rosters.every((roster) => roster.appliedIndex === rosters[0]?.appliedIndex);
    });
    const hashes = new Set(this.running.map((member) => member.roster.hash()));
    expect(hashes.size).toBe(1);
  }

  /** Excludes a member that has ended permanently from this cluster's checks. */
  forget(member: TestMember): void {
    this.members.splice(this.members.indexOf(member), 1);
  }

  /** Waits until the members have been in contact long enough for the strict reconfiguration check. @returns the leader */
  async stable(): Promise<TestMember> {
    const leader = await this.leader();
    const { replica } = leader;
    await until("two election timeouts of contact", () =>
      this.running.every((member) => {
        const { id } = member.replica;
        return (
          id === replica.id ||
          (replica.contacts.inContactTicks(id, replica.ticks) ?? 0) >= 2 * replica.electionTicks
        );
      }),
    );
    return leader;
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.stop()));
    rmSync(this.folder, { recursive: true, force: true });
  }
}
