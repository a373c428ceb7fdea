/**
 * Transport over gRPC: one Peer, which is one stream, for each other member of the roster, and calls for snapshots.
 *
 * Invariants: at most one stream per peer. Each event comes in its own turn of the event loop, and none after stop().
 */
import { MessageType } from "../raft/index";
import type { Message, NodeId, RandomSource } from "../raft/index";
import type { Clock } from "../base/clock";
import { isExchanged } from "./codec";
import type { Self } from "./handshake";
import { silentLog } from "../base/log";
import type { Log } from "../base/log";
import { DEFAULT_PEER_LIMITS, Peer } from "./peer";
import type { PeerLimits, PeerStats } from "./peer";
import type { Dial } from "./dial";
import { DEFAULT_SNAPSHOT_LIMITS, SnapshotSender } from "./snapshot_sender";
import type { PeerAddress, RosterDigest, Transport, TransportEvents } from "./transport";

export interface GrpcTransportOptions {
  /** This member, for its handshakes. */
  readonly self: Self;
  readonly dial: Dial;
  /** Measures pauses and time limits. */
  readonly clock: Clock;
  /** Runs a function in a turn of its own: setImmediate in the product. */
  readonly defer: (fn: () => void) => void;
  /** Draws the pauses before reconnecting, so that members do not reconnect in step. */
  readonly random: RandomSource;
  readonly events: TransportEvents;
  /**
   * Largest request, in bytes. At most what peers receive, and at least the largest append message. Raise it together
   * with the size of an append; a larger request delays the heartbeats behind it on the same stream.
   */
  readonly maxMessageBytes: number;
  /** @default silentLog */
  readonly log?: Log;
  /** Bounds of one peer. @default DEFAULT_PEER_LIMITS */
  readonly peerLimits?: Partial<Omit<PeerLimits, "requestBytesMax">>;
  /** Bounds of sending snapshots (SnapshotSenderOptions). @default DEFAULT_SNAPSHOT_LIMITS */
  readonly snapshotLimits?: Partial<{
    readonly concurrencyMax: number;
    readonly chunkBytes: number;
    readonly progressTimeoutMs: number;
  }>;
}

export class GrpcTransport implements Transport {
  private readonly peers = new Map<NodeId, Peer>();
  private readonly snapshots: SnapshotSender;
  private readonly log: Log;
  private readonly peerLimits: PeerLimits;
  private diskFull = false;
  private stopped = false;

  constructor(private readonly options: GrpcTransportOptions) {
    this.log = options.log ?? silentLog;
    this.peerLimits = {
      ...DEFAULT_PEER_LIMITS,
      ...options.peerLimits,
      requestBytesMax: options.maxMessageBytes,
    };
    this.snapshots = new SnapshotSender({
      ...DEFAULT_SNAPSHOT_LIMITS,
      ...options.snapshotLimits,
      self: options.self,
      clock: options.clock,
      log: this.log,
      dial: options.dial,
      onResult: (id, delivered) => {
        this.later((events) => {
          events.onSnapshotResult(id, delivered);
        });
      },
    });
  }

  send(messages: readonly Message[]): void {
    if (this.stopped) return;
    const batches = new Map<NodeId, Message[]>();
    for (const message of messages) {
      const peer = this.peers.get(message.to);
      if (peer === undefined) {
        this.log.debug({ to: message.to, type: MessageType[message.type] }, "message to an unknown peer");
      } else if (message.type === MessageType.Snapshot) {
        this.snapshots.send(message, peer.url);
      } else if (isExchanged(message.type)) {
        const batch = batches.get(message.to);
        if (batch === undefined) batches.set(message.to, [message]);
        else batch.push(message);
      } else {
        this.log.warn({ to: message.to, type: MessageType[message.type] }, "message type does not travel");
      }
    }
    for (const [id, batch] of batches) this.peers.get(id)?.send(batch, this.digestFor(id, batch));
  }

  setPeers(peers: readonly PeerAddress[]): void {
    if (this.stopped) return;
    const wanted = new Map<NodeId, readonly string[]>();
    for (const { id, peerUrls } of peers)
      if (id !== this.options.self.memberId && peerUrls.length > 0) wanted.set(id, peerUrls);
    for (const [id, peer] of this.peers) {
      const urls = wanted.get(id);
      if (urls?.includes(peer.url) === true) {
        peer.setUrls(urls);
        continue;
      }
      peer.stop();
      this.peers.delete(id);
      // The core sends the snapshot again to a peer that only moved, once it knows that this one did not arrive.
      if (this.snapshots.cancel(id) && urls !== undefined) {
        this.later((events) => {
          events.onSnapshotResult(id, false);
        });
      }
    }
    for (const [id, urls] of wanted) {
      if (!this.peers.has(id)) this.peers.set(id, this.openPeer(id, urls));
    }
  }

  setDiskFull(full: boolean): void {
    if (this.stopped) return;
    this.diskFull = full;
    for (const peer of this.peers.values()) peer.setDiskFull(full);
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.snapshots.stop();
    for (const peer of this.peers.values()) peer.stop();
    this.peers.clear();
  }

  /** The state and the counters of the stream to `id`; null when `id` is not a peer. For metrics and tests. */
  stats(id: NodeId): PeerStats | null {
    return this.peers.get(id)?.stats() ?? null;
  }

  private digestFor(to: NodeId, batch: readonly Message[]): RosterDigest | null {
    if (!batch.some(({ type }) => type === MessageType.Heartbeat)) return null;
    return this.options.events.rosterDigest?.(to) ?? null;
  }

  private openPeer(id: NodeId, urls: readonly string[]): Peer {
    const { self, clock, random, dial } = this.options;
    const { diskFull } = this;
    return new Peer({
      diskFull,
      id,
      urls,
      self,
      clock,
      random,
      log: this.log,
      limits: this.peerLimits,
      dial,
      onUnreachable: (peer) => {
        this.later((events) => {
          events.onUnreachable(peer);
        });
      },
      onAccepted: (peer) => {
        this.later((events) => {
          events.onAccepted?.(peer);
        });
      },
      onRefused: (peer, reason, text) => {
        this.later((events) => {
          events.onRefused(peer, reason, text);
        });
      },
    });
  }

  /** Reports an event in a later turn, unless the transport is stopped by then. */
  private later(report: (events: TransportEvents) => void): void {
    this.options.defer(() => {
      if (!this.stopped) report(this.options.events);
    });
  }
}
