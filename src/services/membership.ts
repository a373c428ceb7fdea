/**
 * MembershipService: checks each request, passes it to the cluster layer, and builds the answer. The roster's rules
 * (roster/) decide about changes, not this file.
 *
 * The same handlers serve clients on the admin listener, and members that forward their clients' calls on the peer
 * listener.
 */
import type { Call } from "../base/call";
import type { Clock } from "../base/clock";
import { sha256 } from "../base/random";
import { responseHeader } from "../cluster/response_header";
import { clusterStatus } from "../cluster/status";
import type { Accepted } from "../cluster/leader/submission";
import type { WriteRequest } from "../cluster/writes";
import { GetMembersResponse, MembershipServiceService } from "../generated/muster/v1/membership_service";
import type {
  AddMemberRequest,
  AddMemberResponse,
  ChangeMembersRequest,
  ChangeMembersResponse,
  DeleteMemberRequest,
  DeleteMemberResponse,
  GetClusterRequest,
  GetClusterResponse,
  GetMembersRequest,
  PromoteMemberRequest,
  PromoteMemberResponse,
  ReplaceMemberRequest,
  ReplaceMemberResponse,
  TransferLeadershipRequest,
  TransferLeadershipResponse,
  UpdateAdminURLRequest,
  UpdateAdminURLResponse,
  UpdateClusterSettingsRequest,
  UpdateClusterSettingsResponse,
  UpdateMemberRequest,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
import type { Member } from "../generated/muster/v1/member";
import type { ReplicaView } from "../replica/view";
import {
  RefusedError,
  addMemberCommand,
  changeMembersCommand,
  checkAddMember,
  checkChangeMembers,
  checkConsistency,
  checkDeleteMember,
  checkPromoteMember,
  checkReplaceMember,
  checkTransferLeadership,
  checkUpdateAdminUrl,
  checkUpdateMember,
  checkUpdateSettings,
  checkWatchMembers,
  fingerprint,
  laterMemberId,
  promoteMemberCommand,
  removeMemberCommand,
  replaceMemberCommand,
  resolveMember,
  toMember,
  toSettings,
  updateAdminUrlsCommand,
  updateMemberCommand,
  updateSettingsCommand,
  withSettings,
} from "../roster/index";
import type { Checked, CommandEnvelope, WriteFields } from "../roster/index";
import type { Answer, Handlers, MethodDefinition } from "../rpc/definition";
import type { PeerRequest } from "../transport/peer_calls";
import { serving } from "./backend";
import type { Backend, ServiceOptions } from "./backend";

interface MembershipServiceOptions extends ServiceOptions {
  /** Measures how long ago the leader heard from each member (GetCluster). */
  readonly clock: Clock;
}

/** The public contract's service, for the listeners. */
export const membershipService = MembershipServiceService;

const {
  addMember,
  updateMember,
  deleteMember,
  promoteMember,
  changeMembers,
  replaceMember,
  getCluster,
  updateAdminUrl,
  updateClusterSettings,
  transferLeadership,
} = MembershipServiceService;

/** Random bytes in the hash that makes the id of a member. */
const ID_SALT_BYTES = 16;

export class MembershipService {
  readonly handlers: Handlers<typeof MembershipServiceService> = {
    getMembers: (request, call) => this.getMembers(request, call),
    addMember: async (request, call) => this.addMember(request, call),
    updateMember: async (request, call) => this.updateMember(request, call),
    deleteMember: async (request, call) => this.deleteMember(request, call),
    promoteMember: async (request, call) => this.promoteMember(request, call),
    changeMembers: async (request, call) => this.changeMembers(request, call),
    replaceMember: async (request, call) => this.replaceMember(request, call),
    updateClusterSettings: async (request, call) => this.updateSettings(request, call),
    getCluster: (request, call) => this.getCluster(request, call),
    updateAdminUrl: async (request, call) => this.updateAdminUrl(request, call),
    transferLeadership: async (request, call) => this.transferLeadership(request, call),
    watchMembers: async (request, call, sink) => {
      const { watches } = serving(this.options);
      await watches.watch(valid(checkWatchMembers(request)), call, sink);
    },
  };
  /** The last answer of getMembers, encoded, and the state that it belongs to. */
  private encodedMembers: { readonly key: string; readonly bytes: Buffer } | null = null;

  constructor(private readonly options: MembershipServiceOptions) {}

  // --- Reads --------------------------------------------------------------------------------------------------------

  private async getMembers(
    { consistency }: GetMembersRequest,
    call: Call,
  ): Promise<Answer<GetMembersResponse>> {
    const { replica, reads } = serving(this.options);
    if (valid(checkConsistency(consistency))) await reads.confirm(call);
    const { roster, term, leader } = replica;
    // Nothing else changes the answer: callers at the same revision, term and leader share one encoded answer.
    const key = `${String(roster.revision)}/${String(term)}/${String(leader)}`;
    if (this.encodedMembers?.key !== key) {
      const response = { header: responseHeader(replica, roster.revision), members: members(replica) };
      this.encodedMembers = { key, bytes: Buffer.from(GetMembersResponse.encode(response).finish()) };
    }
    return this.encodedMembers.bytes;
  }

  private async getCluster(request: GetClusterRequest, call: Call): Promise<Answer<GetClusterResponse>> {
    const { replica, reads } = serving(this.options);
    const status = (confirmed: boolean): GetClusterResponse => {
      const header = responseHeader(replica, replica.roster.revision);
      return clusterStatus(replica, header, this.options.clock.now(), confirmed);
    };
    if (!valid(checkConsistency(request.consistency))) return status(false);
    const forward = (): PeerRequest => peerRequest(getCluster, request);
    return reads.atLeader(call, forward, () => status(true));
  }

  // --- Writes -------------------------------------------------------------------------------------------------------

  private addMember(received: AddMemberRequest, call: Call): Promise<Answer<AddMemberResponse>> {
    const backend = serving(this.options);
    const fields = valid(checkAddMember(received));
    const request = this.withRequestId(received);
    return execute(backend, call, {
      validateOnly: fields.validateOnly,
      drewRequestId: fields.requestId === "",
      command: () => {
        const id = this.chooseId(backend.replica, fields.name, fields.peerUrl);
        const member = { ...fields, id, learner: true };
        return addMemberCommand(this.envelope(call, request.requestId, fields), member);
      },
      forward: () => peerRequest(addMember, request),
      ...(fields.target === undefined ? {} : { feature: "target" }),
      answer: (decision) => addedAnswer(backend.replica, decision, fields.validateOnly),
    });
  }

  private updateMember(received: UpdateMemberRequest, call: Call): Promise<Answer<UpdateMemberResponse>> {
    const backend = serving(this.options);
    const fields = valid(checkUpdateMember(received));
    const request = this.withRequestId(received);
    return execute(backend, call, {
      validateOnly: fields.validateOnly,
      drewRequestId: fields.requestId === "",
      command: () => updateMemberCommand(this.envelope(call, request.requestId, fields), fields),
      forward: () => peerRequest(updateMember, request),
      answer: (decision) => withMembers(backend.replica, decision),
    });
  }

  private deleteMember(received: DeleteMemberRequest, call: Call): Promise<Answer<DeleteMemberResponse>> {
    const backend = serving(this.options);
    const fields = valid(checkDeleteMember(received));
    const request = this.withRequestId(received);
    return execute(backend, call, {
      validateOnly: fields.validateOnly,
      drewRequestId: fields.requestId === "",
      command: () => removeMemberCommand(this.envelope(call, request.requestId, fields), fields),
      forward: () => peerRequest(deleteMember, request),
      answer: (decision) => withMembers(backend.replica, decision),
    });
  }

  private promoteMember(received: PromoteMemberRequest, call: Call): Promise<Answer<PromoteMemberResponse>> {
    const backend = serving(this.options);
    const fields = valid(checkPromoteMember(received));
    const request = this.withRequestId(received);
    return execute(backend, call, {
      validateOnly: fields.validateOnly,
      drewRequestId: fields.requestId === "",
      feature: "promote",
      command: () => promoteMemberCommand(this.envelope(call, request.requestId, fields), fields),
      forward: () => peerRequest(promoteMember, request),
      answer: (decision) => withMembers(backend.replica, decision),
    });
  }

  private changeMembers(received: ChangeMembersRequest, call: Call): Promise<Answer<ChangeMembersResponse>> {
    const backend = serving(this.options);
    const fields = valid(checkChangeMembers(received));
    const request = this.withRequestId(received);
    return execute(backend, call, {
      validateOnly: fields.validateOnly,
      drewRequestId: fields.requestId === "",
      feature: "change",
      command: () => changeMembersCommand(this.envelope(call, request.requestId, fields), fields),
      forward: () => peerRequest(changeMembers, request),
      answer: ({ revision, quorumSteps = [] }) => ({
        header: responseHeader(backend.replica, revision),
        members: members(backend.replica),
        quorumSteps: [...quorumSteps],
      }),
    });
  }

  private replaceMember(received: ReplaceMemberRequest, call: Call): Promise<Answer<ReplaceMemberResponse>> {
    const backend = serving(this.options);
    const fields = valid(checkReplaceMember(received));
    const { newName, peerUrl, adminUrls } = fields;
    const request = this.withRequestId(received);
    return execute(backend, call, {
      validateOnly: fields.validateOnly,
      drewRequestId: fields.requestId === "",
      feature: "replace",
      command: () => {
        const { roster } = backend.replica;
        const old = resolveMember(roster, fields.member);
        // A roster that is behind may not have the member yet; apply fills in what is left out.
        const oldName = old.ok ? old.member.name : fields.member.name;
        const id = this.chooseId(backend.replica, newName, peerUrl);
        return replaceMemberCommand(this.envelope(call, request.requestId, fields), {
          member: fields.member,
          peerUrl: "",
          replacement: { id, name: newName, peerUrl, adminUrls, learner: true },
          sideBySide: newName !== "" && newName !== oldName,
        });
      },
      forward: () => peerRequest(replaceMember, request),
      answer: (decision) => addedAnswer(backend.replica, decision, fields.validateOnly),
    });
  }

  private updateSettings(
    received: UpdateClusterSettingsRequest,
    call: Call,
  ): Promise<Answer<UpdateClusterSettingsResponse>> {
    const backend = serving(this.options);
    const fields = valid(checkUpdateSettings(received));
    const request = this.withRequestId(received);
    return execute(backend, call, {
      validateOnly: fields.validateOnly,
      drewRequestId: fields.requestId === "",
      feature: "settings",
      command: () => updateSettingsCommand(this.envelope(call, request.requestId, fields), fields.settings),
      forward: () => peerRequest(updateClusterSettings, request),
      answer: ({ revision }) => ({
        header: responseHeader(backend.replica, revision),
        settings: toSettings(
          fields.validateOnly
            ? withSettings(backend.replica.roster.settings, fields.settings)
            : backend.replica.roster.settings,
        ),
      }),
    });
  }

  private updateAdminUrl(
    received: UpdateAdminURLRequest,
    call: Call,
  ): Promise<Answer<UpdateAdminURLResponse>> {
    const backend = serving(this.options);
    const fields = valid(checkUpdateAdminUrl(received));
    const request = this.withRequestId(received);
    return execute(backend, call, {
      validateOnly: fields.validateOnly,
      drewRequestId: fields.requestId === "",
      command: () => updateAdminUrlsCommand(this.envelope(call, request.requestId, fields), fields),
      forward: () => peerRequest(updateAdminUrl, request),
      answer: (decision) => ({
        header: responseHeader(backend.replica, decision.revision),
        member: memberOf(decision),
      }),
    });
  }

  // --- Leadership ---------------------------------------------------------------------------------------------------

  private async transferLeadership(
    request: TransferLeadershipRequest,
    call: Call,
  ): Promise<Answer<TransferLeadershipResponse>> {
    const { transfers, replica } = serving(this.options);
    const member = valid(checkTransferLeadership(request));
    const forward = (): PeerRequest => peerRequest(transferLeadership, request);
    const found = await transfers.execute({ member, forward }, call);
    if (Buffer.isBuffer(found)) return found;
    return { header: responseHeader(replica, replica.roster.revision), leader: toMember(found) };
  }

  private envelope({ method, caller }: Call, requestId: string, fields: WriteFields): CommandEnvelope {
    const { random, wallNow } = this.options;
    return {
      proposalId: random.u64(),
      timeMs: wallNow(),
      requestId,
      fingerprint: fingerprint(sha256, method, fields),
      expectedRevision: fields.expectedRevision,
      note: fields.note,
      caller: caller.name,
    };
  }

  /**
   * The request with a request id. The first member that receives a write without one draws it, so that an attempt
   * whose outcome is unknown can be repeated, here or at another leader, without a second effect.
   */
  private withRequestId<Req extends { requestId: string }>(request: Req): Req {
    return request.requestId === "" ? { ...request, requestId: this.options.random.uuid() } : request;
  }

  /** A member id that no member has or had. Chosen before the proposal, so that every member applies the same id. */
  private chooseId({ roster }: ReplicaView, name: string, peerUrl: string): bigint {
    const { random, wallNow } = this.options;
    const isTaken = (id: bigint): boolean => roster.member(id) !== null || roster.tombstone(id) !== null;
    return laterMemberId(sha256, name, peerUrl, wallNow(), random.bytes(ID_SALT_BYTES), isTaken);
  }
}

function execute<Res>(backend: Backend, call: Call, request: WriteRequest<Res>): Promise<Answer<Res>> {
  return backend.writes.execute(request, call);
}

function peerRequest<Req>(
  method: Pick<MethodDefinition<Req, unknown>, "path" | "requestSerialize">,
  request: Req,
): PeerRequest {
  return { path: method.path, body: method.requestSerialize(request) };
}

function valid<T>(checked: Checked<T>): T {
  if (!checked.ok) throw new RefusedError(checked.refusal);
  return checked.value;
}

function members(replica: ReplicaView): Member[] {
  return replica.roster.members().map(toMember);
}

function memberOf({ member }: Accepted): Member | undefined {
  return member === null ? undefined : toMember(member);
}

function withMembers(replica: ReplicaView, decision: Accepted) {
  return {
    header: responseHeader(replica, decision.revision),
    member: memberOf(decision),
    members: members(replica),
    quorumSteps: [...(decision.quorumSteps ?? [])],
  };
}

/** The same for a change that adds a member: one that was only checked has no id yet. */
function addedAnswer(replica: ReplicaView, decision: Accepted, validateOnly: boolean) {
  const answer = withMembers(replica, decision);
  if (validateOnly && answer.member !== undefined) answer.member.id = "";
  return answer;
}
