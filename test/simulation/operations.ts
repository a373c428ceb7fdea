/**
 * The requests of clients and operators as plain values, used for both the call and the history. Most are calls of the
 * public service; operations that it does not declare yet are calls of operation_service.ts.
 */
import {
  MembershipServiceService,
  type ResponseHeader,
} from "../../src/generated/muster/v1/membership_service";
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import type { Member } from "../../src/generated/muster/v1/member";
import { formatId, parseId } from "../../src/roster/index";
import type { Method } from "../../src/client/attempt";

/** Ports of the peer URLs that operators draw for members: from this one up, each once. */
export const DRAWN_PORTS = 8000;

export type WriteBody =
  /** Adds a learner; `learner`: it stays one until a call promotes it. */
  | { readonly rpc: "AddMember"; readonly name: string; readonly peerUrl: string; readonly learner: boolean }
  /** Selects by name and id, because another member may have the name by the time the call arrives. */
  | { readonly rpc: "UpdateMember"; readonly name: string; readonly id: bigint; readonly peerUrl: string }
  | { readonly rpc: "DeleteMember"; readonly name: string }
  | { readonly rpc: "UpdateAdminURL"; readonly name: string; readonly adminUrl: string }
  | { readonly rpc: "PromoteMember"; readonly name: string }
  | {
      readonly rpc: "ReplaceMember";
      readonly name: string;
      readonly newName: string;
      readonly peerUrl: string;
    }
  /** A call that members make themselves. The simulation records it where the leader decides it. */
  | { readonly rpc: "Publish"; readonly name: string; readonly adminUrl: string };

export interface WriteOperation {
  readonly body: WriteBody;
  readonly requestId: string;
  /** 0 for any revision. */
  readonly expectedRevision: number;
  readonly validateOnly: boolean;
}

/** A member in an answer. */
export interface MemberSeen {
  readonly id: bigint;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly adminUrls: readonly string[];
  readonly learner: boolean;
  readonly started: boolean;
  readonly updateRevision: number;
}

export interface WriteAnswer {
  readonly revision: number;
  readonly member: MemberSeen | null;
}

/** The roster in the answer to a read. */
export interface RosterAnswer {
  readonly revision: number;
  readonly members: readonly MemberSeen[];
}

/** The fields that the answers to all writes have. */
interface WriteResponse {
  readonly header: ResponseHeader | undefined;
  readonly member: Member | undefined;
}

/** A client's call: the method, the request, and a function that reads the answer. */
export interface WriteCall<Req, Res extends WriteResponse> {
  readonly method: Method<Req, Res>;
  readonly request: Req;
}

/** The operations that the public service does not declare. */
export type OwnOperation = WriteOperation & {
  readonly body: Extract<WriteBody, { rpc: "ReplaceMember" }>;
};

/** Path of the only method of operation_service.ts. */
export const OWN_PATH = "/muster.simulation.v1.OperationService/Change";

/** The method's request is JSON; its answer is encoded like that of UpdateMember. */
export const ownMethod: Method<OwnOperation, WriteResponse> = {
  path: OWN_PATH,
  requestSerialize: (operation) => Buffer.from(JSON.stringify(operation)),
  responseDeserialize: MembershipServiceService.updateMember.responseDeserialize,
};

function own(operation: WriteOperation): WriteCall<never, WriteResponse> {
  return { method: ownMethod, request: operation } as unknown as WriteCall<never, WriteResponse>;
}

function call<Req, Res extends WriteResponse>(method: Method<Req, Res>, request: Req) {
  return { method, request } as unknown as WriteCall<never, WriteResponse>;
}

export function callOf(operation: WriteOperation): WriteCall<never, WriteResponse> {
  const { body, requestId, validateOnly } = operation;
  const service = MembershipServiceService;
  const write = { requestId, validateOnly, expectedRevision: BigInt(operation.expectedRevision), note: "" };
  switch (body.rpc) {
    case "AddMember": {
      const { name, peerUrl, learner } = body;
      const target = learner ? MemberTarget.LEARNER : MemberTarget.UNSPECIFIED;
      return call(service.addMember, { name, peerUrl, adminUrl: "", target, ...write });
    }
    case "UpdateMember": {
      const { name, id, peerUrl } = body;
      return call(service.updateMember, { name, id: formatId(id), newPeerUrl: peerUrl, ...write });
    }
    case "DeleteMember":
      return call(service.deleteMember, { name: body.name, id: "", peerUrl: "", ...write });
    case "UpdateAdminURL":
      return call(service.updateAdminUrl, { name: body.name, id: "", adminUrls: [body.adminUrl], ...write });
    case "PromoteMember":
      return call(service.promoteMember, { name: body.name, id: "", ...write });
    case "ReplaceMember":
      return own(operation);
    case "Publish":
      throw new Error("only a member publishes itself");
  }
}

export function writeAnswer({ header, member }: WriteResponse): WriteAnswer {
  return {
    revision: Number(header?.revision ?? 0n),
    member: member === undefined || member.id === "" ? null : seen(member),
  };
}

export function rosterAnswer(
  header: ResponseHeader | undefined,
  members: readonly (Member | undefined)[],
): RosterAnswer {
  return {
    revision: Number(header?.revision ?? 0n),
    members: members.flatMap((member) => (member === undefined ? [] : [seen(member)])),
  };
}

function seen({ id, name, peerUrls, adminUrls, role, started, updateRevision }: Member): MemberSeen {
  return {
    id: parseId(id) ?? 0n,
    name,
    peerUrls,
    adminUrls,
    learner: role === MemberRole.LEARNER,
    started,
    updateRevision: Number(updateRevision),
  };
}
