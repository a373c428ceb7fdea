/**
 * How a member reaches its peers: Raft messages, snapshots, and the gRPC channels that forwarding uses.
 *
 * Sending never blocks and never fails: queues are bounded, a peer that is slow or away loses messages (Raft sends
 * again), and the node is told that it was unreachable. The set of peers follows the roster.
 */
import type { Message, NodeId } from "../raft/index";

/** Where a peer is reached. */
export interface PeerAddress {
  readonly id: NodeId;
  /** scheme://host:port, normalised; the first one is used. */
  readonly peerUrls: readonly string[];
}

/** What the transport tells the node. Called from event-loop turns of its own, never from inside send(). */
export interface TransportEvents {
  /** Messages to this peer were lost. */
  onUnreachable(id: NodeId): void;
  /** A snapshot was received whole by the peer (true), or not (false). */
  onSnapshotResult(id: NodeId, delivered: boolean): void;
  /** The peer refused this member's stream, with the reason of its error (MEMBER_REMOVED, MEMBER_WIPED, ...). */
  onRefused(id: NodeId, reason: string, text: string): void;
}

export interface Transport {
  /** Sends one turn's messages; groups them by receiver. A Snapshot message goes on a call of its own. */
  send(messages: readonly Message[]): void;

  /** Replaces the set of peers: opens, keeps and closes connections. A changed URL reconnects. */
  setPeers(peers: readonly PeerAddress[]): void;

  /** Ends all streams and channels. Nothing is called back afterwards. */
  stop(): void;
}
