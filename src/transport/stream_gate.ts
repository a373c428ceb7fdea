/**
 * Decides which members may open streams to this one, and takes their messages. Implemented in
 * cluster/peer_admission.ts.
 */
import type { Handshake } from "../generated/muster/raft/v1/raft_service";
import type { Message, NodeId } from "../raft/index";
import type { RpcError } from "../rpc/rpc_error";
import type { RosterDigest } from "./transport";

export interface StreamGate {
  /** This member's id. Handshakes and messages to another id are refused. */
  readonly memberId: NodeId;
  /** Why the sender may not talk to this member; null to accept it. */
  check(handshake: Handshake): RpcError | null;
  /** The same for a snapshot. Called before the snapshot's data are received. */
  checkSnapshot(handshake: Handshake): RpcError | null;
  /** Why a member whose stream is open may not talk to this one any more; null while it may. */
  expelled(id: NodeId): RpcError | null;
  /** A stream was accepted, or a snapshot received whole. */
  accepted(handshake: Handshake): void;
  /** The accepted stream of a member is over, and no newer one took its place. */
  closed?(from: NodeId): void;
  /** One batch, in the order in which it was sent; never empty. */
  receive(from: NodeId, messages: readonly Message[]): void;
  /** What a member tells of its roster. Not checked yet. */
  digest(from: NodeId, digest: RosterDigest): void;
  /** Whether the disk of `from` is full. Called with false when its stream was accepted, and as the sender says it. */
  diskFull(from: NodeId, full: boolean): void;
  /** A message, a request or a snapshot was refused. `from` is NO_NODE before the sender is accepted. */
  refused(from: NodeId, problem: string): void;
}
