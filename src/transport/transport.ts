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
  /** scheme://host:port, in normal form. Tried in turn: the next one when the one before does not answer. */
  readonly peerUrls: readonly string[];
}

/** What a leader tells of its roster, so that a member whose roster differs notices. */
export interface RosterDigest {
  /** The log index at which the roster last changed. */
  readonly revision: number;
  readonly digest: Uint8Array;
}

/** The transport's reports. Each comes in its own turn of the event loop, never from inside send() or setPeers(). */
export interface TransportEvents {
  /** What to tell `to` of this member's roster, beside a heartbeat that is about to leave. @default nothing */
  rosterDigest?(to: NodeId): RosterDigest | null;
  /** Messages to this peer were lost. */
  onUnreachable(id: NodeId): void;
  /** The peer received a snapshot whole (`delivered`), or it did not. */
  onSnapshotResult(id: NodeId, delivered: boolean): void;
  /** The peer accepted a stream of this member. May come again for a stream that is open. */
  onAccepted?(id: NodeId): void;
  /** The peer refused this member's stream. `reason` is that of its error: MEMBER_REMOVED, MEMBER_WIPED, ... */
  onRefused(id: NodeId, reason: string, text: string): void;
}

export interface Transport {
  /** Sends the messages of one turn, grouped by receiver. Each Snapshot message has its own call. */
  send(messages: readonly Message[]): void;

  /** Replaces the set of peers: opens, keeps and closes streams. A peer whose URL is
   * no longer listed is connected anew. */
  setPeers(peers: readonly PeerAddress[]): void;

  /** Tells every peer whether this member's disk is full: now, and each one that connects later. */
  setDiskFull(full: boolean): void;

  /** Ends all streams and channels. No event comes afterwards. */
  stop(): void;
}
