/**
 * The TypeScript client of muster.v1.MembershipService, and of MaintenanceService's snapshots.
 *
 * One promise method per call. A write gets a request_id when it has none, and every attempt of a call
 * carries the same one; the endpoint that answered last is asked first. Any member takes any call, so that
 * one reachable endpoint is enough.
 *
 *     const client = new MusterClient({ endpoints: ["127.0.0.1:7460", "127.0.0.1:7470"] });
 *     const { members } = await client.getMembers();
 *     client.close();
 */
import type { ChannelCredentials, ClientOptions } from "@grpc/grpc-js";
import {
  AddMemberRequest,
  DeleteMemberRequest,
  GetClusterRequest,
  GetMembersRequest,
  UpdateAdminURLRequest,
  UpdateMemberRequest,
} from "../generated/muster/v1/membership_service";
import type {
  AddMemberResponse,
  DeleteMemberResponse,
  GetClusterResponse,
  GetMembersResponse,
  UpdateAdminURLResponse,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
import { Caller } from "./caller";
import { EndpointChannel } from "./channel";
import type { Unary } from "./channel";
import { systemClock } from "./clock";
import type { Clock } from "./clock";
import { ClientConfigError, parseEndpoints } from "./endpoints";
import { ownErrors } from "./snapshot";
import type { ReceivedSnapshot, SnapshotSink } from "./snapshot";

export type { Clock } from "./clock";
export { systemClock } from "./clock";
export { ClientConfigError, parseEndpoint, parseEndpoints } from "./endpoints";
export type { Endpoint } from "./endpoints";
export { MusterError } from "./errors";
export type { FieldViolation, MusterErrorInit } from "./errors";
export type { ReceivedSnapshot, SnapshotSink } from "./snapshot";
export { Consistency } from "../generated/muster/v1/membership_service";
export type {
  AddMemberResponse,
  DeleteMemberResponse,
  GetClusterResponse,
  GetMembersResponse,
  ResponseHeader,
  UpdateAdminURLResponse,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
export { MemberRole } from "../generated/muster/v1/member";
export type { Member, MemberStatus } from "../generated/muster/v1/member";

/**
 * How long a call may take unless told otherwise: the servers' own default, 5 s and two election timeouts.
 */
export const DEFAULT_TIMEOUT_MS = 7000;

/** Longest accepted timeout, one day: grpc-js expires deadlines of about 25 days and more at once. */
export const TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000;

/** A request of which only the fields `Required` must be given. */
type Input<T, Required extends keyof T = never> = Readonly<Pick<T, Required>> & {
  readonly [K in Exclude<keyof T, Required>]?: T[K] | undefined;
};

export type GetMembersInput = Input<GetMembersRequest>;
export type GetClusterInput = Input<GetClusterRequest>;
export type AddMemberInput = Input<AddMemberRequest, "name" | "peerUrl">;
/** Names the member by `name`, `id` or both. */
export type UpdateMemberInput = Input<UpdateMemberRequest, "newPeerUrl">;
/** Names the member by `name`, `id` or both. */
export type DeleteMemberInput = Input<DeleteMemberRequest>;
/** Names the member by `name`, `id` or both. */
export type UpdateAdminURLInput = Input<UpdateAdminURLRequest, "adminUrls">;

/** How to reach a cluster. */
export interface MusterClientOptions {
  /** `host:port`, `http://host:port` or `https://host:port` of one member or more. */
  readonly endpoints: readonly string[];
  /**
   * Milliseconds a call may take, all its attempts together.
   * @default DEFAULT_TIMEOUT_MS
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Credentials for every endpoint.
   * @default TLS with the system's authorities for https://, none for the others
   */
  readonly credentials?: ChannelCredentials | undefined;
  /**
   * Whether to go on trying, within the timeout, while no endpoint can be connected to. A service wants that:
   * members come back. Someone at a shell wants to hear of it at once.
   * @default true
   */
  readonly waitForConnection?: boolean | undefined;
  /** More channel options for grpc-js; they win over the client's own. */
  readonly channelOptions?: ClientOptions | undefined;
  /** Time for pauses and deadlines. @default the machine's monotonic clock */
  readonly clock?: Clock | undefined;
  /** Jitter of pauses, in [0, 1). @default Math.random */
  readonly random?: (() => number) | undefined;
}

/** Settings of one call. */
export interface CallOptions {
  /** Milliseconds for all attempts together. @default the client's timeoutMs */
  readonly timeoutMs?: number | undefined;
  /** Ends the call with CANCELLED. A write already sent may still happen. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * A client of one cluster. A call that fails rejects with MusterError.
 * @throws ClientConfigError when an endpoint or a timeout is wrong, from the constructor and from a call's
 *   own timeout
 */
export class MusterClient {
  private readonly caller: Caller;
  private readonly timeoutMs: number;

  constructor(options: MusterClientOptions) {
    this.timeoutMs = checkedTimeout(options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const channels = parseEndpoints(options.endpoints).map(
      (endpoint) => new EndpointChannel(endpoint, options.credentials, options.channelOptions),
    );
    this.caller = new Caller({
      channels,
      clock: options.clock ?? systemClock,
      random: options.random ?? Math.random,
      waitForConnection: options.waitForConnection ?? true,
    });
  }

  /** Lists the members, sorted by id. Linearizable unless asked otherwise. */
  async getMembers(input: GetMembersInput = {}, options: CallOptions = {}): Promise<GetMembersResponse> {
    return this.read(
      (stub, ...rest) => stub.getMembers(...rest),
      GetMembersRequest.fromPartial(given(input)),
      options,
    );
  }

  /** Describes the cluster: each member with its state, and what the cluster can survive. */
  async getCluster(input: GetClusterInput = {}, options: CallOptions = {}): Promise<GetClusterResponse> {
    return this.read(
      (stub, ...rest) => stub.getCluster(...rest),
      GetClusterRequest.fromPartial(given(input)),
      options,
    );
  }

  /** Adds a voter. */
  async addMember(input: AddMemberInput, options: CallOptions = {}): Promise<AddMemberResponse> {
    return this.write(
      (stub, ...rest) => stub.addMember(...rest),
      AddMemberRequest.fromPartial(given(input)),
      options,
    );
  }

  /** Changes a member's peer URL. */
  async updateMember(input: UpdateMemberInput, options: CallOptions = {}): Promise<UpdateMemberResponse> {
    return this.write(
      (stub, ...rest) => stub.updateMember(...rest),
      UpdateMemberRequest.fromPartial(given(input)),
      options,
    );
  }

  /** Removes a member for good. */
  async deleteMember(input: DeleteMemberInput, options: CallOptions = {}): Promise<DeleteMemberResponse> {
    return this.write(
      (stub, ...rest) => stub.deleteMember(...rest),
      DeleteMemberRequest.fromPartial(given(input)),
      options,
    );
  }

  /** Replaces a member's admin URLs. */
  async updateAdminUrl(
    input: UpdateAdminURLInput,
    options: CallOptions = {},
  ): Promise<UpdateAdminURLResponse> {
    const request = UpdateAdminURLRequest.fromPartial(given(input));
    return this.write((stub, ...rest) => stub.updateAdminUrl(...rest), request, options);
  }

  /**
   * Receives the cluster's whole state as a file, piece by piece, at the sink's pace: every change acknowledged before
   * the call is in it. `sink.begin` is called again when another member has to be asked: what came before is void.
   * @returns what the file holds, and the SHA-256 that the member computed over it: compare it with your own
   * @throws MusterError, or what the sink throws
   */
  async saveSnapshot(sink: SnapshotSink, options: CallOptions = {}): Promise<ReceivedSnapshot> {
    const plan = { ...this.settings(options), requestId: undefined, changes: false };
    return ownErrors(sink, (guarded) =>
      this.caller.run((channel, attempt) => channel.saveSnapshot(guarded, attempt), plan),
    );
  }

  /** Closes the connections. Calls in flight, and calls made later, end with CANCELLED. */
  close(): void {
    this.caller.close();
  }

  private read<Req, Res>(method: Unary<Req, Res>, request: Req, options: CallOptions): Promise<Res> {
    return this.caller.call(method, request, {
      ...this.settings(options),
      requestId: undefined,
      changes: false,
    });
  }

  private write<Req extends { requestId: string; validateOnly: boolean }, Res>(
    method: Unary<Req, Res>,
    request: Req,
    options: CallOptions,
  ): Promise<Res> {
    if (request.requestId === "") request.requestId = crypto.randomUUID();
    return this.caller.call(method, request, {
      ...this.settings(options),
      requestId: request.requestId,
      changes: !request.validateOnly,
    });
  }

  private settings(options: CallOptions): { timeoutMs: number; signal: AbortSignal | undefined } {
    const timeoutMs = options.timeoutMs === undefined ? this.timeoutMs : checkedTimeout(options.timeoutMs);
    return { timeoutMs, signal: options.signal };
  }
}

/** The fields that have a value: generated code tells a missing field from one that is undefined. */
function given<T extends object>(input: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(input).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function checkedTimeout(ms: number): number {
  if (!(ms > 0 && ms <= TIMEOUT_MAX_MS)) {
    throw new ClientConfigError(
      `bad timeout ${String(ms)} ms: want more than 0 and at most ${String(TIMEOUT_MAX_MS)}`,
    );
  }
  return ms;
}
