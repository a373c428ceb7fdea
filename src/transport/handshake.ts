/**
 * The first request of every stream between members: the sender, the receiver, and the version of the contract.
 *
 * This file has the checks that hold for every receiver. Checks that need the receiver's roster (cluster, tombstones,
 * instance ids) are a HandshakeCheck.
 */
import type { Handshake } from "../generated/muster/raft/v1/raft_service";
import type { NodeId } from "../raft/index";
import { INSTANCE_ID_BYTES } from "../base/random";
import { refusalError } from "../rpc/rpc_error";
import type { RpcError } from "../rpc/rpc_error";
import { isMemberId } from "./codec";

/** The version of muster.raft.v1 that this code speaks. Raised when a receiver must understand more than before. */
export const WIRE_VERSION = 1;

/** Longest peer URL accepted, in characters: twice what the roster takes. */
const PEER_URL_LENGTH_MAX = 1024;

/** A member as it describes itself in its handshakes. */
export interface Self {
  readonly clusterId: bigint;
  readonly memberId: NodeId;
  /** The id of its data directory, INSTANCE_ID_BYTES long. */
  readonly instanceId: Uint8Array;
  /** Where other members reach it; in normal form. */
  readonly peerUrl: string;
  /** What tells its data directory from a copy of it, asked for each handshake. @default nothing is told */
  readonly claim?: () => SelfClaim;
}

/** The part of a handshake that changes while a member runs; see the fields of Handshake. */
interface SelfClaim {
  readonly bootId: Uint8Array;
  readonly previousBootIds: readonly Uint8Array[];
  readonly bootRevision: number;
  readonly term: number;
}

const NO_CLAIM: SelfClaim = { bootId: new Uint8Array(0), previousBootIds: [], bootRevision: 0, term: 0 };

/** Most boot ids that a handshake may have: more than a member keeps. */
const BOOT_IDS_MAX = 128;

/** Why the sender may not talk to this member; null to accept it. Called once per call, after the general checks. */
export type HandshakeCheck = (handshake: Handshake) => RpcError | null;

/** The handshake of `self` towards `to`. */
export function handshakeOf(self: Self, to: NodeId): Handshake {
  const { bootId, previousBootIds, bootRevision, term } = self.claim?.() ?? NO_CLAIM;
  return {
    clusterId: self.clusterId,
    memberId: self.memberId,
    toMemberId: to,
    instanceId: Buffer.from(self.instanceId),
    wireVersion: WIRE_VERSION,
    peerUrl: self.peerUrl,
    bootId: Buffer.from(bootId),
    previousBootIds: previousBootIds.map((boot) => Buffer.from(boot)),
    bootRevision,
    term,
  };
}

/** What is wrong with the form of boot ids from a peer; null when nothing is. */
export function bootIdsProblem(bootId: Uint8Array, previous: readonly Uint8Array[]): string | null {
  if (previous.length > BOOT_IDS_MAX) return `more than ${BOOT_IDS_MAX} of them`;
  const fits = ({ length }: Uint8Array): boolean => length === INSTANCE_ID_BYTES;
  if ((bootId.length === 0 || fits(bootId)) && previous.every(fits)) return null;
  return `one does not have ${INSTANCE_ID_BYTES} bytes`;
}

/** INVALID_REQUEST: the sender does not keep to the protocol. */
export function invalidRequest(text: string, metadata: Readonly<Record<string, string>> = {}): RpcError {
  return refusalError({ reason: "INVALID_REQUEST", message: text, metadata });
}

/**
 * Why a sender is refused; null to accept it. `check` comes before the receiver's id: a member of another cluster also
 * has the wrong receiver, but needs to learn that its cluster is wrong.
 */
export function refuseHandshake(
  handshake: Handshake | undefined,
  memberId: NodeId,
  check: HandshakeCheck,
): RpcError | null {
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
  const bootProblem = bootIdsProblem(handshake.bootId, handshake.previousBootIds);
  if (bootProblem !== null) return invalidRequest(`the sender's boot ids: ${bootProblem}`);
  const refusal = check(handshake);
  if (refusal !== null) return refusal;
  if (handshake.toMemberId !== memberId) {
    const ids = { wanted_id: handshake.toMemberId.toString(16), member_id: memberId.toString(16) };
    return refusalError({
      reason: "MEMBER_MISMATCH",
      message: `member ${ids.wanted_id} is not here: this is ${ids.member_id}`,
      metadata: ids,
    });
  }
  if (handshake.memberId === memberId) return invalidRequest("the sender has this member's own id");
  return null;
}
