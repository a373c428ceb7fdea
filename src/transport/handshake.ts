/**
 * The first request of every call between members: who sends, to whom, in which version of the contract.
 *
 * What depends on the receiver's roster (cluster, tombstones, instance ids) is the server's to judge, by a
 * HandshakeCheck; here is what holds for every receiver.
 */
import { status } from "@grpc/grpc-js";
import type { Handshake } from "../generated/muster/raft/v1/raft_service";
import type { NodeId } from "../raft/index";
import { isMemberId } from "./codec";
import type { Refusal } from "./status_details";

/** The version of muster.raft.v1 that this code speaks. Raised when a receiver must understand more than before. */
export const WIRE_VERSION = 1;

/** Length of the id that a data directory is born with, in bytes. */
const INSTANCE_ID_BYTES = 16;

/** Longest peer URL that is looked at. */
const PEER_URL_LENGTH_MAX = 1024;

/** What a member says about itself. */
export interface Self {
  readonly clusterId: bigint;
  readonly memberId: NodeId;
  /** 16 bytes. */
  readonly instanceId: Uint8Array;
  /** Where peers reach it; normalised. */
  readonly peerUrl: string;
}

/** Whether the sender may talk to this member: null to accept. Called once for each call, after the general checks. */
export type HandshakeCheck = (handshake: Handshake) => Refusal | null;

/** The handshake of `self` towards `to`. */
export function handshakeOf(self: Self, to: NodeId): Handshake {
  return {
    clusterId: self.clusterId,
    memberId: self.memberId,
    toMemberId: to,
    instanceId: Buffer.from(self.instanceId),
    wireVersion: WIRE_VERSION,
    peerUrl: self.peerUrl,
  };
}

/** INVALID_ARGUMENT, INVALID_REQUEST: what the sender sent can't be read. */
export function invalidRequest(text: string, metadata: Readonly<Record<string, string>> = {}): Refusal {
  return { code: status.INVALID_ARGUMENT, reason: "INVALID_REQUEST", text, metadata };
}

/**
 * Why a sender is refused, or null. The order makes the answer useful: another cluster is named as that, although its
 * member ids do not fit either.
 */
export function refuseHandshake(
  handshake: Handshake | undefined,
  memberId: NodeId,
  check: HandshakeCheck,
): Refusal | null {
  if (handshake === undefined) return invalidRequest("the first request is not a handshake");
  if (handshake.wireVersion !== WIRE_VERSION) {
    const versions = { wire_version: String(handshake.wireVersion), supported: String(WIRE_VERSION) };
    return invalidRequest(`wire version ${versions.wire_version} is not ${versions.supported}`, versions);
  }
  if (!isMemberId(handshake.memberId)) return invalidRequest("the sender has no valid id");
  if (handshake.instanceId.length !== INSTANCE_ID_BYTES) {
    return invalidRequest(`the sender's instance id does not have ${INSTANCE_ID_BYTES} bytes`);
  }
  if (handshake.peerUrl.length > PEER_URL_LENGTH_MAX)
    return invalidRequest("the sender's peer URL is too long");
  const refusal = check(handshake);
  if (refusal !== null) return refusal;
  if (handshake.toMemberId !== memberId) {
    const ids = { wanted_id: handshake.toMemberId.toString(16), member_id: memberId.toString(16) };
    return {
      code: status.FAILED_PRECONDITION,
      reason: "MEMBER_MISMATCH",
      text: `member ${ids.wanted_id} is not here: this is ${ids.member_id}`,
      metadata: ids,
    };
  }
  if (handshake.memberId === memberId) return invalidRequest("the sender has this member's own id");
  return null;
}
