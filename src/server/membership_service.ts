/**
 * The six RPCs: checks the request, hands it on, shapes the answer. No decision about the roster is taken here.
 *
 * The same handlers serve the admin listener (clients) and the peer listener (members that forward).
 */
import { randomUUID } from "node:crypto";
import type { UntypedHandleCall } from "@grpc/grpc-js";
import {
  Consistency,
  GetMembersResponse,
  MembershipServiceService,
} from "../generated/muster/v1/membership_service";
import type {
  AddMemberRequest,
  AddMemberResponse,
  DeleteMemberRequest,
  DeleteMemberResponse,
  GetClusterRequest,
  GetClusterResponse,
  GetMembersRequest,
  ResponseHeader,
  UpdateAdminURLRequest,
  UpdateAdminURLResponse,
  UpdateMemberRequest,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
import type { Member } from "../generated/muster/v1/member";
import {
  addMemberCommand,
  checkAddMember,
  checkDeleteMember,
  checkUpdateAdminUrl,
  checkUpdateMember,
  fingerprint,
  formatId,
  laterMemberId,
  removeMemberCommand,
  toMember,
  updateAdminUrlsCommand,
  updateMemberCommand,
} from "../roster/index";
import type { Checked, CommandEnvelope, WriteFields } from "../roster/index";
import { passing, tolerant } from "../transport/service_definition";
import type { CallContext } from "./call";
import { clusterStatus } from "./cluster_status";
import { RefusedError, refused } from "./errors";
import { newProposalId, randomBytes16, sha256 } from "../base/random";
import { unary } from "./interceptors/unary";
import type { Answer, UnaryOptions } from "./interceptors/unary";
import type { LinearizableReads } from "./linearizable_reads";
import type { Node } from "./node";
import type { Accepted, Writes } from "./writes";

const { getMembers, addMember, updateMember, deleteMember, getCluster, updateAdminUrl } =
  MembershipServiceService;

/** The generated definition, with requests that do not decode as values and encoded answers passed through. */
export const membershipServiceDefinition = {
  getMembers: wrap(getMembers),
  addMember: wrap(addMember),
  updateMember: wrap(updateMember),
  deleteMember: wrap(deleteMember),
  getCluster: wrap(getCluster),
  updateAdminUrl: wrap(updateAdminUrl),
} as const;

interface Method<Req, Res> {
  readonly requestDeserialize: (bytes: Buffer) => Req;
  readonly responseSerialize: (value: Res) => Buffer;
}

function wrap<Req, Res, M extends Method<Req, Res>>(method: M & Method<Req, Res>) {
  return {
    ...method,
    requestDeserialize: tolerant(method.requestDeserialize),
    responseSerialize: passing(method.responseSerialize),
  };
}

/** Fits membershipServiceDefinition. */
export type MembershipHandlers = {
  [Name in keyof typeof membershipServiceDefinition]: UntypedHandleCall;
};

/** What the handlers work on; there once this member knows who it is. */
export interface ServiceBackend {
  readonly node: Node;
  readonly writes: Writes;
  readonly reads: LinearizableReads;
}

export interface MembershipServiceOptions {
  /** Null while this member waits to join. */
  readonly backend: () => ServiceBackend | null;
  readonly unary: UnaryOptions;
}

type Handle<Req, Res> = (request: Req, context: CallContext, backend: ServiceBackend) => Promise<Answer<Res>>;

export class MembershipServiceHost {
  readonly handlers: MembershipHandlers;
  private encodedMembers: { readonly key: string; readonly bytes: Buffer } | null = null;

  constructor(private readonly options: MembershipServiceOptions) {
    this.handlers = {
      getMembers: this.handler("GetMembers", this.getMembers.bind(this)),
      addMember: this.handler("AddMember", this.addMember.bind(this)),
      updateMember: this.handler("UpdateMember", this.updateMember.bind(this)),
      deleteMember: this.handler("DeleteMember", this.deleteMember.bind(this)),
      getCluster: this.handler("GetCluster", this.getCluster.bind(this)),
      updateAdminUrl: this.handler("UpdateAdminURL", this.updateAdminUrl.bind(this)),
    };
  }

  private handler<Req, Res>(rpc: string, handle: Handle<Req, Res>): UntypedHandleCall {
    return unary(rpc, this.options.unary, (request: Req, context) => {
      const backend = this.options.backend();
      if (backend === null) {
        throw refused(
          "SERVER_STOPPING",
          "this member does not serve now: it waits to join, or is stopping; ask another",
        );
      }
      return handle(request, context, backend);
    });
  }

  // --- Reads --------------------------------------------------------------------------------------------------------

  private async getMembers(
    { consistency }: GetMembersRequest,
    context: CallContext,
    { node, reads }: ServiceBackend,
  ): Promise<Answer<GetMembersResponse>> {
    if (isLinearizable(consistency)) await reads.confirm(context);
    const { roster, term, leader } = node;
    // Every caller at the same revision, term and leader gets the same bytes.
    const key = `${String(roster.revision)}/${String(term)}/${String(leader)}`;
    if (this.encodedMembers?.key !== key) {
      const response = { header: header(node, roster.revision), members: members(node) };
      this.encodedMembers = { key, bytes: Buffer.from(GetMembersResponse.encode(response).finish()) };
    }
    return this.encodedMembers.bytes;
  }

  private async getCluster(
    request: GetClusterRequest,
    context: CallContext,
    { node, reads }: ServiceBackend,
  ): Promise<Answer<GetClusterResponse>> {
    if (!isLinearizable(request.consistency))
      return clusterStatus(node, header(node, node.roster.revision), null);
    return reads.atLeader(
      context,
      (stubs, metadata, options, done) => stubs.membership.getCluster(request, metadata, options, done),
      () => clusterStatus(node, header(node, node.roster.revision), this.options.unary.clock.now()),
    );
  }

  // --- Writes -------------------------------------------------------------------------------------------------------

  private addMember(
    received: AddMemberRequest,
    context: CallContext,
    { node, writes }: ServiceBackend,
  ): Promise<Answer<AddMemberResponse>> {
    const fields = valid(checkAddMember(received));
    const request = withRequestId(received);
    return writes.execute<AddMemberResponse>(
      {
        isConfChange: true,
        validateOnly: fields.validateOnly,
        command: () => {
          const id = this.chooseId(node, fields.name, fields.peerUrl);
          return addMemberCommand(this.envelope(context, request.requestId, fields), { ...fields, id });
        },
        forward: (stubs, metadata, options, done) =>
          stubs.membership.addMember(request, metadata, options, done),
        answer: (decision) => {
          const answer = withMembers(node, decision);
          if (fields.validateOnly && answer.member !== undefined) answer.member.id = "";
          return answer;
        },
      },
      context,
    );
  }

  private updateMember(
    received: UpdateMemberRequest,
    context: CallContext,
    { node, writes }: ServiceBackend,
  ): Promise<Answer<UpdateMemberResponse>> {
    const fields = valid(checkUpdateMember(received));
    const request = withRequestId(received);
    return writes.execute<UpdateMemberResponse>(
      {
        isConfChange: true,
        validateOnly: fields.validateOnly,
        command: () => updateMemberCommand(this.envelope(context, request.requestId, fields), fields),
        forward: (stubs, metadata, options, done) =>
          stubs.membership.updateMember(request, metadata, options, done),
        answer: (decision) => withMembers(node, decision),
      },
      context,
    );
  }

  private deleteMember(
    received: DeleteMemberRequest,
    context: CallContext,
    { node, writes }: ServiceBackend,
  ): Promise<Answer<DeleteMemberResponse>> {
    const fields = valid(checkDeleteMember(received));
    const request = withRequestId(received);
    return writes.execute<DeleteMemberResponse>(
      {
        isConfChange: true,
        validateOnly: fields.validateOnly,
        command: () => removeMemberCommand(this.envelope(context, request.requestId, fields), fields),
        forward: (stubs, metadata, options, done) =>
          stubs.membership.deleteMember(request, metadata, options, done),
        answer: (decision) => withMembers(node, decision),
      },
      context,
    );
  }

  private updateAdminUrl(
    received: UpdateAdminURLRequest,
    context: CallContext,
    { node, writes }: ServiceBackend,
  ): Promise<Answer<UpdateAdminURLResponse>> {
    const fields = valid(checkUpdateAdminUrl(received));
    const request = withRequestId(received);
    return writes.execute<UpdateAdminURLResponse>(
      {
        isConfChange: false,
        validateOnly: fields.validateOnly,
        command: () => updateAdminUrlsCommand(this.envelope(context, request.requestId, fields), fields),
        forward: (stubs, metadata, options, done) =>
          stubs.membership.updateAdminUrl(request, metadata, options, done),
        answer: (decision) => ({ header: header(node, decision.revision), member: memberOf(decision) }),
      },
      context,
    );
  }

  private envelope({ rpc }: CallContext, requestId: string, fields: WriteFields): CommandEnvelope {
    return {
      proposalId: newProposalId(),
      timeMs: this.options.unary.wallNow(),
      requestId,
      fingerprint: fingerprint(sha256, rpc, fields),
      expectedRevision: fields.expectedRevision,
    };
  }

  /** Chosen before the proposal, so that every member applies the same: in no use, and never used before. */
  private chooseId({ roster }: Node, name: string, peerUrl: string): bigint {
    return laterMemberId(
      sha256,
      name,
      peerUrl,
      this.options.unary.wallNow(),
      randomBytes16(),
      (id) => roster.member(id) !== null || roster.tombstone(id) !== null,
    );
  }
}

function isLinearizable(consistency: Consistency): boolean {
  return consistency !== Consistency.SERIALIZABLE;
}

function valid<T>(checked: Checked<T>): T {
  if (!checked.ok) throw new RefusedError(checked.refusal);
  return checked.value;
}

/** A write without a request id gets one from the first member that takes it, so that forwarding can repeat it. */
function withRequestId<Req extends { requestId: string }>(request: Req): Req {
  return request.requestId === "" ? { ...request, requestId: randomUUID() } : request;
}

export function header(node: Node, revision: number): ResponseHeader {
  return {
    clusterId: formatId(node.clusterId),
    memberId: formatId(node.id),
    revision: BigInt(revision),
    raftTerm: BigInt(node.term),
    leaderId: node.leader === 0n ? "" : formatId(node.leader),
  };
}

function members(node: Node): Member[] {
  return node.roster.members().map(toMember);
}

function memberOf({ member }: Accepted): Member | undefined {
  return member === null ? undefined : toMember(member);
}

function withMembers(node: Node, decision: Accepted) {
  return { header: header(node, decision.revision), member: memberOf(decision), members: members(node) };
}
