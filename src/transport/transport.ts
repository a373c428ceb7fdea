/**
 * How a member sends Raft messages and snapshots to its peers. The set of peers follows the roster.
 *
 * Sending never blocks and never fails. Queues are bounded: messages to a peer that is slow or away are lost, which
 * onUnreachable reports, and Raft sends them again.
 */
import type { Message, NodeId } from "../raft/index";

/** A peer and its addresses. */
export interface PeerAddress {
  readonly id: NodeId;
  /** scheme://host:port, in normal form. The first one is used. */
  readonly peerUrls: readonly string[];
}

/** The transport's reports. Each comes in its own turn of the event loop, never from inside send() or setPeers(). */
export interface TransportEvents {
  /** Messages to this peer were lost. */
  onUnreachable(id: NodeId): void;
  /** The peer received a snapshot whole (`delivered`), or it did not. */
  onSnapshotResult(id: NodeId, delivered: boolean): void;
  /** The peer refused this member's stream. `reason` is that of its error: MEMBER_REMOVED, MEMBER_WIPED, ... */
  onRefused(id: NodeId, reason: string, text: string): void;
}

export interface Transport {
  /** Sends the messages of one turn, grouped by receiver. Each Snapshot message has its own call. */
  send(messages: readonly Message[]): void;

  /** Replaces the set of peers: opens, keeps and closes streams. A peer whose URL changed is connected anew. */
  setPeers(peers: readonly PeerAddress[]): void;

  /** Ends all streams and channels. No event comes afterwards. */
  stop(): void;
}
