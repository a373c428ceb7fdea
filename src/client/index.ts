/**
 * The TypeScript client of muster.v1.MembershipService and of the snapshots of MaintenanceService.
 *
 * One promise method per call. A write gets a request_id when it has none, and every attempt of a call carries the
 * same one. The first attempt goes to the endpoint that answered last. Any member accepts any call, so that one
 * reachable endpoint is enough.
 *
 *     const client = new MusterClient({ endpoints: ["127.0.0.1:7460", "127.0.0.1:7470"] });
 *     const { members } = await client.getMembers();
 *     client.close();
 */
import type { ChannelCredentials, ClientOptions } from "@grpc/grpc-js";
import { HealthCheckResponse_ServingStatus, HealthService } from "../generated/grpc/health/v1/health";
import { MaintenanceServiceService } from "../generated/muster/v1/maintenance_service";
import type { Member, MemberStatus } from "../generated/muster/v1/member";
import {
  AddMemberRequest,
  Consistency,
  ChangeMembersRequest,
  DeleteMemberRequest,
  GetClusterRequest,
  GetMembersRequest,
  MembershipServiceService,
  PromoteMemberRequest,
  ReplaceMemberRequest,
  TransferLeadershipRequest,
  UpdateAdminURLRequest,
  UpdateClusterSettingsRequest,
  UpdateMemberRequest,
} from "../generated/muster/v1/membership_service";
import type {
  AddMemberResponse,
  ChangeMembersResponse,
  DeleteMemberResponse,
  GetClusterResponse,
  GetMembersResponse,
  PromoteMemberResponse,
  ReplaceMemberResponse,
  TransferLeadershipResponse,
  UpdateAdminURLResponse,
  UpdateClusterSettingsResponse,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
import { TIMEOUT_MAX_MS } from "./attempt";
import type { Method } from "./attempt";
import { Caller } from "./caller";
import { EndpointChannel } from "./channel";
import { systemClock } from "./clock";
import type { Clock } from "./clock";
import { ClientConfigError, parseEndpoints } from "./endpoints";
import { given } from "./inputs";
import type {
  AddMemberInput,
  ChangeMembersInput,
  DeleteMemberInput,
  GetClusterInput,
  GetMembersInput,
  PromoteMemberInput,
  ReplaceMemberInput,
  TransferLeadershipInput,
  UpdateAdminURLInput,
  UpdateClusterSettingsInput,
  UpdateMemberInput,
  MemberSelectorInput,
} from "./inputs";
import { EndpointPool } from "./pool";
import { SharedRead } from "./shared_read";
import type { ReadLimits } from "./shared_read";
import { ownErrors, receiveSnapshot } from "./snapshot";
import type { ReceivedSnapshot, SnapshotSink } from "./snapshot";
import { LiveMembers } from "./view";
import type { MembersView } from "./view";
import { MemberWatch } from "./watch";
import type { WatchItem, WatchMembersOptions } from "./watch";

export { TIMEOUT_MAX_MS } from "./attempt";
export type { Clock } from "./clock";
export { systemClock } from "./clock";
export { ClientConfigError, parseEndpoint, parseEndpoints } from "./endpoints";
export type { Endpoint } from "./endpoints";
export { MusterError } from "./errors";
export type { MusterErrorInit } from "./errors";
export type * from "./inputs";
export type { FieldViolation } from "../rpc/error_details";
export type { ReceivedSnapshot, SnapshotSink } from "./snapshot";
export type { MembersChange, MembersView, ViewWaitOptions } from "./view";
export type {
  WatchedEvent,
  WatchedLeader,
  WatchedProgress,
  WatchedRoster,
  WatchedSettings,
  WatchItem,
  WatchMembersOptions,
} from "./watch";
export { Consistency, MemberEventKind } from "../generated/muster/v1/membership_service";
export type {
  AddMemberResponse,
  ChangeMembersResponse,
  ClusterSettings,
  DeleteMemberResponse,
  GetClusterResponse,
  GetMembersResponse,
  MemberEvent,
  PromoteMemberResponse,
  QuorumStep,
  ReplaceMemberResponse,
  ResponseHeader,
  TransferLeadershipResponse,
  UpdateAdminURLResponse,
  UpdateClusterSettingsResponse,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
export { MemberRole, MemberTarget } from "../generated/muster/v1/member";
export type { Member, MemberStatus } from "../generated/muster/v1/member";

/**
 * Milliseconds that a call may take by default: 5 s and two election timeouts, the same as a server allows a call
 * without a deadline. A cluster that loses its leader elects another within that time.
 */
export const DEFAULT_TIMEOUT_MS = 7000;

/** The methods of the service. */
const {
  getMembers,
  getCluster,
  addMember,
  updateMember,
  deleteMember,
  promoteMember,
  changeMembers,
  replaceMember,
  updateClusterSettings,
  updateAdminUrl,
  transferLeadership,
} = MembershipServiceService;

/** How to reach a cluster. */
export interface MusterClientOptions {
  /**
   * `host:port`, `http://host:port` or `https://host:port` of one member or more. Required. One is enough, because any
   * member accepts any call; with more, the client survives the failure of a member.
   */
  readonly endpoints: readonly string[];
  /**
   * Milliseconds that a call may take, all its attempts together; more than 0 and at most TIMEOUT_MAX_MS. Lower it
   * where a late answer is useless; raise it for a slow network or for election timeouts above one second.
   * @default DEFAULT_TIMEOUT_MS, within which a failed leader is replaced
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Credentials for every endpoint. Set them for a private certificate authority or for client certificates.
   * @default TLS with the authorities known to Node for https:// endpoints, no TLS for the others
   */
  readonly credentials?: ChannelCredentials | undefined;
  /**
   * Whether calls go on, within their timeout, while no endpoint can be connected to. False: a call fails after one
   * round over the endpoints; for interactive use, where a prompt error is worth more than patience.
   * @default true, because a service outlives restarts of the members
   */
  readonly waitForConnection?: boolean | undefined;
  /**
   * Whether the admin URLs of the members in the newest roster seen are endpoints too, so that the client goes on when all
   * configured members were replaced. The configured ones stay in any case, and are tried first. Set false behind a proxy or a
   * load balancer, or where the members' own addresses can't be reached.
   * @default true
   */
  readonly followRoster?: boolean | undefined;
  /**
   * Whether the client, when it has several endpoints, watches the health (grpc.health.v1) of each one that it has used. One
   * that says NOT_SERVING (no leader known, disk full, stopping) is asked only when all others failed. One stream for each
   * endpoint, from the first use after a second on; it keeps the process running until close().
   * @default true
   */
  readonly healthCheck?: boolean | undefined;
  /**
   * Further channel options for grpc-js, such as message size limits. They win over the client's own, which are in
   * src/client/channel.ts.
   * @default none
   */
  readonly channelOptions?: ClientOptions | undefined;
  /**
   * Milliseconds after which a read without an answer is also made at another endpoint, at most at three side by side.
   * Set it for interactive use, where one member that hangs must not use up the time; leave it out where many reads
   * would only add load to members that are slow.
   * @default none: a read goes to one endpoint at a time
   */
  readonly hedgeReadsMs?: number | undefined;
  /**
   * Time for pauses and for the deadline of a call. Replaced in tests, which need not wait.
   * @default the machine's monotonic clock
   */
  readonly clock?: Clock | undefined;
  /**
   * Numbers in [0, 1) for the jitter of pauses. Replaced in tests, which need the same pauses in every run.
   * @default Math.random
   */
  readonly random?: (() => number) | undefined;
}

/** Settings of one call. */
export interface CallOptions {
  /**
   * Milliseconds for all attempts together; more than 0 and at most TIMEOUT_MAX_MS. Raise it for a large snapshot.
   * @default the client's timeoutMs
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Ends the call with CANCELLED. A write that was already sent may still be executed.
   * @default none
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Says that a call with this request_id may have been made before, so that a refusal is final for that one too. Only for
   * writes with a request_id of your own, after one that ended as OUTCOME_UNKNOWN, was cancelled, or was lost with its process.
   * @default false
   */
  readonly repeats?: boolean | undefined;
}

/** Settings of a call that saves a snapshot. */
export interface SaveSnapshotOptions extends CallOptions {
  /**
   * Takes what one member has applied, without a quorum's word. Set it when there is no quorum and a backup is needed
   * all the same: the file may miss acknowledged changes.
   * @default false
   */
  readonly serializable?: boolean | undefined;
}

/**
 * A client of one cluster. A call that fails rejects with MusterError.
 * @throws ClientConfigError from the constructor when an endpoint or the timeout is wrong, and from a call when its
 *   own timeout is wrong
 */
export class MusterClient {
  private readonly caller: Caller;
  private readonly pool: EndpointPool;
  private readonly view: LiveMembers;
  private readonly timeoutMs: number;
  private readonly sharedMembers: ReadonlyMap<Consistency, SharedRead<GetMembersResponse>>;
  private readonly sharedCluster: ReadonlyMap<Consistency, SharedRead<GetClusterResponse>>;

  constructor(options: MusterClientOptions) {
    this.timeoutMs = checkedTimeout(options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const { credentials, channelOptions, clock = systemClock, random = Math.random } = options;
    this.pool = new EndpointPool({
      hints: parseEndpoints(options.endpoints),
      dial: (endpoint) => new EndpointChannel(endpoint, credentials, channelOptions),
      followRoster: options.followRoster ?? true,
      ownCredentials: credentials !== undefined,
      healthCheck: options.healthCheck ?? true,
      clock: systemClock,
    });
    this.caller = new Caller({
      channels: () => this.pool.channels(),
      clock,
      attemptClock: systemClock,
      random,
      waitForConnection: options.waitForConnection ?? true,
      hedgeReadsMs: options.hedgeReadsMs ?? null,
    });
    this.view = new LiveMembers({
      caller: this.caller,
      clock,
      waitClock: systemClock,
      random,
      timeoutMs: this.timeoutMs,
      onRoster: (roster) => {
        this.pool.see(roster);
      },
    });
    this.sharedMembers = sharedReads((request, limits) => this.read(getMembers, request, limits));
    this.sharedCluster = sharedReads((request, limits) => this.read(getCluster, request, limits));
  }

  /**
   * A live view of the members: reads without an RPC, from a copy that one watch keeps. The watch starts with the first use
   * of the view and lasts until close().
   */
  get members(): MembersView {
    return this.view;
  }

  /**
   * Watches the roster: first the whole, then every change once, in order and without a gap. Goes on over lost streams, at
   * another endpoint, for as long as it takes. The stream opens with the first item that is asked for; leaving the loop, or
   * the signal, closes it. A slow reader slows the stream down; one so slow that the members no longer have the changes gets
   * the roster anew, as an item of kind "reset".
   *
   *     for await (const item of client.watchMembers()) console.log(item.kind, item);
   *
   * @throws MusterError from the loop: what every endpoint refuses, such as PERMISSION_DENIED, and CANCELLED after close()
   * @throws ClientConfigError when the start revision is no revision
   */
  watchMembers(options: WatchMembersOptions = {}): AsyncIterableIterator<WatchItem> {
    return new MemberWatch(this.caller, options);
  }

  /**
   * Lists the members, sorted by id. Linearizable by default: it sees every change acknowledged before this call.
   *
   * Linearizable calls that wait at the same time share one RPC. A call never uses one that is under way, which may have read
   * before it; it shares the next one, which begins when that one ends, after 100 ms at the latest. Each call keeps its own
   * timeout and signal, and gets a response of its own.
   */
  async getMembers(input: GetMembersInput = {}, options: CallOptions = {}): Promise<GetMembersResponse> {
    const request = GetMembersRequest.fromPartial(given(input));
    const limits = this.settings(options);
    return (
      this.sharedMembers.get(request.consistency)?.read(limits) ?? this.read(getMembers, request, limits)
    );
  }

  /**
   * Describes the cluster: each member with its state, and how many failures the cluster tolerates. Linearizable by default;
   * such calls share RPCs as those of getMembers do.
   */
  async getCluster(input: GetClusterInput = {}, options: CallOptions = {}): Promise<GetClusterResponse> {
    const request = GetClusterRequest.fromPartial(given(input));
    const limits = this.settings(options);
    return (
      this.sharedCluster.get(request.consistency)?.read(limits) ?? this.read(getCluster, request, limits)
    );
  }

  /**
   * Adds a learner. Its process is started afterwards, and the leader makes a voter of it by itself when it is ready, unless
   * `target` says otherwise.
   */
  async addMember(input: AddMemberInput, options: CallOptions = {}): Promise<AddMemberResponse> {
    return this.write(addMember, AddMemberRequest.fromPartial(given(input)), options);
  }

  /** Changes a member's peer URL. */
  async updateMember(input: UpdateMemberInput, options: CallOptions = {}): Promise<UpdateMemberResponse> {
    return this.write(updateMember, UpdateMemberRequest.fromPartial(given(input)), options);
  }

  /** Removes a member. A removed member can't come back: adding it again makes a new member. */
  async deleteMember(input: DeleteMemberInput, options: CallOptions = {}): Promise<DeleteMemberResponse> {
    return this.write(deleteMember, DeleteMemberRequest.fromPartial(given(input)), options);
  }

  /** Makes a voter of a learner that is ready; LEARNER_NOT_READY otherwise. Of a voter: nothing is changed. */
  async promoteMember(input: PromoteMemberInput, options: CallOptions = {}): Promise<PromoteMemberResponse> {
    return this.write(promoteMember, PromoteMemberRequest.fromPartial(given(input)), options);
  }

  /** Promotes, demotes and removes members in one change, all of them or none. */
  async changeMembers(input: ChangeMembersInput, options: CallOptions = {}): Promise<ChangeMembersResponse> {
    const { promote = [], demote = [], remove = [], ...fields } = input;
    const named = (members: readonly MemberSelectorInput[]) =>
      members.map(({ name = "", id = "" }) => ({ name, id }));
    const lists = { promote: named(promote), demote: named(demote), remove: named(remove) };
    const request = ChangeMembersRequest.fromPartial({ ...given(fields), ...lists });
    return this.write(changeMembers, request, options);
  }

  /**
   * Replaces a member. With a name of its own the new member joins beside the old one and takes its place by itself when it
   * is ready. Without one it takes the place at once, for a member whose disk is lost: refused with MEMBER_IN_CONTACT while the
   * old one answers.
   */
  async replaceMember(input: ReplaceMemberInput, options: CallOptions = {}): Promise<ReplaceMemberResponse> {
    return this.write(replaceMember, ReplaceMemberRequest.fromPartial(given(input)), options);
  }

  /** Changes what the leader does by itself. The answer has all settings; getCluster shows them too. */
  async updateClusterSettings(
    input: UpdateClusterSettingsInput,
    options: CallOptions = {},
  ): Promise<UpdateClusterSettingsResponse> {
    const request = UpdateClusterSettingsRequest.fromPartial(given(input));
    return this.write(updateClusterSettings, request, options);
  }

  /** Replaces a member's admin URLs. */
  async updateAdminUrl(
    input: UpdateAdminURLInput,
    options: CallOptions = {},
  ): Promise<UpdateAdminURLResponse> {
    const request = UpdateAdminURLRequest.fromPartial(given(input));
    return this.write(updateAdminUrl, request, options);
  }

  /**
   * Hands leadership to a voter, or without a name or id to the most advanced one in contact; resolves when it leads.
   * Such a call without a member is not repeated when its answer was lost: a second one could hand leadership back.
   */
  async transferLeadership(
    input: TransferLeadershipInput = {},
    options: CallOptions = {},
  ): Promise<TransferLeadershipResponse> {
    const request = TransferLeadershipRequest.fromPartial(given(input));
    const once = request.name === "" && request.id === "";
    const plan = { ...this.settings(options), requestId: undefined, changes: true, once };
    return this.caller.call(transferLeadership, request, plan);
  }

  /**
   * Receives the whole state of the cluster as a file, in pieces, at the pace of the sink. The file contains every
   * change that was acknowledged before the call, unless `serializable` is set. `sink.begin` is called again when a further attempt starts over.
   * @returns the file's header, and the SHA-256 that the member computed over it: compare it with that of the bytes
   *   received
   * @throws MusterError, or an error of the sink
   */
  async saveSnapshot(sink: SnapshotSink, options: SaveSnapshotOptions = {}): Promise<ReceivedSnapshot> {
    const request = { serializable: options.serializable === true };
    const plan = { ...this.settings(options), requestId: undefined, changes: false };
    return ownErrors(sink, (guarded) =>
      this.caller.run((channel, attempt) => {
        const messages = channel.serverStream(MaintenanceServiceService.saveSnapshot, request, attempt);
        return receiveSnapshot(messages, guarded, channel.authority);
      }, plan),
    );
  }

  /** Whether a member says of itself that it serves (grpc.health.v1): the one that answers first. */
  async checkHealth(options: CallOptions = {}): Promise<boolean> {
    const { status } = await this.read(HealthService.check, { service: "" }, this.settings(options));
    return status === HealthCheckResponse_ServingStatus.SERVING;
  }

  /** Closes the connections and ends the live view. Calls and watches in flight, and calls made later, end with CANCELLED. */
  close(): void {
    this.view.close();
    this.caller.close();
  }

  private async read<Req, Res>(method: Method<Req, Res>, request: Req, limits: ReadLimits): Promise<Res> {
    const response = await this.caller.call(method, request, {
      ...limits,
      requestId: undefined,
      changes: false,
    });
    this.learn(response);
    return response;
  }

  private async write<Req extends { requestId: string; validateOnly: boolean }, Res>(
    method: Method<Req, Res>,
    request: Req,
    options: CallOptions,
  ): Promise<Res> {
    if (request.requestId === "") request.requestId = crypto.randomUUID();
    const response = await this.caller.call(method, request, {
      ...this.settings(options),
      requestId: request.requestId,
      changes: !request.validateOnly,
      repeats: options.repeats ?? false,
    });
    if (!request.validateOnly) this.learn(response);
    return response;
  }

  /** Takes endpoints from an answer that has the members. */
  private learn(response: unknown): void {
    const { header, members } = response as Partial<GetMembersResponse & GetClusterResponse>;
    if (header === undefined || members === undefined) return;
    const { clusterId, revision } = header;
    const listed = (members as readonly (Member | MemberStatus)[]).flatMap((one) =>
      "adminUrls" in one ? [one] : (one.member ?? []),
    );
    this.pool.see({ clusterId, revision, members: listed });
  }

  private settings(options: CallOptions): ReadLimits {
    const timeoutMs = options.timeoutMs === undefined ? this.timeoutMs : checkedTimeout(options.timeoutMs);
    return { timeoutMs, signal: options.signal };
  }
}

/** One for each value that means linearizable. An unknown value goes to the service as it is, and is refused there. */
function sharedReads<Res extends object>(
  call: (request: { readonly consistency: Consistency }, limits: ReadLimits) => Promise<Res>,
): ReadonlyMap<Consistency, SharedRead<Res>> {
  const values = [Consistency.UNSPECIFIED, Consistency.LINEARIZABLE];
  return new Map(
    values.map((consistency) => [
      consistency,
      new SharedRead((limits) => call({ consistency }, limits), systemClock),
    ]),
  );
}

function checkedTimeout(ms: number): number {
  if (!(ms > 0 && ms <= TIMEOUT_MAX_MS)) {
    throw new ClientConfigError(
      `bad timeout ${String(ms)} ms: want more than 0 and at most ${String(TIMEOUT_MAX_MS)}`,
    );
  }
  return ms;
}
