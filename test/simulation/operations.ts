/**
 * What clients and operators ask for, as plain values: one description serves the call, the forwarded call and the
 * history. Built into roster commands as the handlers of the service do it.
 */
import { addMemberCommand, fingerprint, laterMemberId, promoteMemberCommand } from "../../src/roster/index";
import {
  publishCommand,
  removeMemberCommand,
  replaceMemberCommand,
  updateAdminUrlsCommand,
  updateMemberCommand,
} from "../../src/roster/index";
import type { CommandEnvelope, RosterCommand } from "../../src/roster/index";
import type { MemberRecord } from "../../src/roster/index";
import { sha256 } from "../../src/base/random";
import type { SimRandom } from "./random";

export type WriteBody =
  | { readonly rpc: "AddMember"; readonly name: string; readonly peerUrl: string; readonly learner: boolean }
  /** Both name and id: a name may be another member's by the time that the call arrives. */
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
  | {
      readonly rpc: "Publish";
      readonly name: string;
      readonly id: bigint;
      readonly instanceId: Uint8Array;
      readonly adminUrl: string;
    };

export interface WriteOperation {
  readonly kind: "write";
  readonly body: WriteBody;
  readonly requestId: string;
  /** 0: any. */
  readonly expectedRevision: number;
  readonly validateOnly: boolean;
}

/** A read at the leader that a follower passes on. */
export interface ClusterOperation {
  readonly kind: "cluster";
}

export type Operation = WriteOperation | ClusterOperation;

export interface WriteAnswer {
  readonly revision: number;
  readonly repeated: boolean;
  readonly changed: boolean;
  readonly member: MemberRecord | null;
}

/** A roster as a reader saw it. */
export interface RosterAnswer {
  readonly revision: number;
  readonly members: readonly MemberRecord[];
}

export function isConfChange({ body }: WriteOperation): boolean {
  return body.rpc !== "UpdateAdminURL" && body.rpc !== "Publish";
}

/** The command of one attempt on the member that leads. */
export function commandFor(operation: WriteOperation, random: SimRandom, wallMs: number): RosterCommand {
  const { body, requestId, expectedRevision, validateOnly } = operation;
  // Publish has its fields by id; the instance id is no string.
  const named =
    body.rpc === "Publish" ? { ...body, instanceId: Buffer.from(body.instanceId).toString("hex") } : body;
  const fields = { ...named, requestId, expectedRevision, validateOnly };
  const envelope: CommandEnvelope = {
    proposalId: random.u64(),
    timeMs: wallMs,
    requestId,
    expectedRevision,
    fingerprint: fingerprint(sha256, body.rpc, fields),
  };
  if (body.rpc !== "Publish") return changeCommand(body, envelope, random);
  const { id, instanceId, adminUrl } = body;
  return publishCommand(envelope, { id, instanceId, adminUrls: [adminUrl], version: "1.0.0" });
}

function changeCommand(
  body: Exclude<WriteBody, { rpc: "Publish" }>,
  envelope: CommandEnvelope,
  random: SimRandom,
): RosterCommand {
  const member = { id: 0n, name: body.name };
  const newId = (name: string, peerUrl: string): bigint =>
    laterMemberId(sha256, name, peerUrl, envelope.timeMs, random.bytes(16));
  switch (body.rpc) {
    case "AddMember": {
      const { name, peerUrl, learner } = body;
      return addMemberCommand(envelope, { id: newId(name, peerUrl), name, peerUrl, adminUrls: [], learner });
    }
    case "UpdateMember":
      return updateMemberCommand(envelope, { member: { ...member, id: body.id }, newPeerUrl: body.peerUrl });
    case "DeleteMember":
      return removeMemberCommand(envelope, { member, peerUrl: "" });
    case "UpdateAdminURL":
      return updateAdminUrlsCommand(envelope, { member, adminUrls: [body.adminUrl] });
    case "PromoteMember":
      return promoteMemberCommand(envelope, { member });
    case "ReplaceMember": {
      const { newName: name, peerUrl } = body;
      const replacement = { id: newId(name, peerUrl), name, peerUrl, adminUrls: [] };
      return replaceMemberCommand(envelope, { member, peerUrl: "", replacement });
    }
  }
}
