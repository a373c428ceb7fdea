/**
 * Transport over gRPC: one Peer (stream) per member of the roster, and snapshots beside them.
 *
 * Invariants: one stream per peer; events come from event-loop turns of their own, and none after stop(). Streams,
 * snapshots and whatever the server dials have channels of their own, because HTTP/2 ends a whole connection on which
 * too many calls are cancelled.
 */
import type { ChannelCredentials } from "@grpc/grpc-js";
import { MessageType } from "../raft/index";
import type { Message, NodeId, RandomSource } from "../raft/index";
import type { Clock } from "../base/clock";
import { isExchanged } from "./codec";
import type { Self } from "./handshake";
import { silentLog } from "../base/log";
import type { TransportLog } from "../base/log";
import { DEFAULT_PEER_LIMITS, Peer } from "./peer";
import type { PeerLimits, PeerStats } from "./peer";
import { createRaftClient } from "./service_definition";
import { DEFAULT_SNAPSHOT_LIMITS, SnapshotSender } from "./snapshot_stream";
import type { PeerAddress, Transport, TransportEvents } from "./transport";

export interface GrpcTransportOptions {
  /** What this member says about itself in every handshake. */
  readonly self: Self;
  /** Credentials for a channel to `url`; may throw when there are none (https without TLS). */
  credentialsFor(url: string): ChannelCredentials;
  readonly clock: Clock;
  /** Decides the jitter of reconnecting. */
  readonly random: RandomSource;
  readonly events: TransportEvents;
  /** Largest request, in bytes; must not pass what peers receive, and must hold the largest append message. */
  readonly maxMessageBytes: number;
  /** @default nothing is logged */
  readonly log?: TransportLog;
  /** Other bounds of a peer. @default DEFAULT_PEER_LIMITS */
  readonly peerLimits?: Partial<Omit<PeerLimits, "requestBytesMax">>;
  /** Bounds of sending snapshots. @default DEFAULT_SNAPSHOT_LIMITS */
  readonly snapshotLimits?: Partial<{
    readonly concurrencyMax: number;
    readonly chunkBytes: number;
    readonly progressTimeoutMs: number;
  }>;
}

export class GrpcTransport implements Transport {
  readonly #peers = new Map<NodeId, Peer>();
  readonly #snapshots: SnapshotSender;
  readonly #log: TransportLog;
  readonly #peerLimits: PeerLimits;
  #stopped = false;

  constructor(private readonly options: GrpcTransportOptions) {
    this.#log = options.log ?? silentLog;
    this.#peerLimits = {
      ...DEFAULT_PEER_LIMITS,
      ...options.peerLimits,
      requestBytesMax: options.maxMessageBytes,
    };
    this.#snapshots = new SnapshotSender({
      ...DEFAULT_SNAPSHOT_LIMITS,
      ...options.snapshotLimits,
      self: options.self,
      clock: options.clock,
      log: this.#log,
      dial: (url) => this.#dial(url),
      onResult: (id, delivered) => {
        this.#later((events) => {
          events.onSnapshotResult(id, delivered);
        });
      },
    });
  }

  send(messages: readonly Message[]): void {
    if (this.#stopped) return;
    const batches = new Map<NodeId, Message[]>();
    for (const message of messages) {
      const peer = this.#peers.get(message.to);
      if (peer === undefined) {
        this.#log.debug({ to: message.to, type: MessageType[message.type] }, "message to no peer");
      } else if (message.type === MessageType.Snapshot) {
        this.#snapshots.send(message, peer.url);
      } else if (isExchanged(message.type)) {
        const batch = batches.get(message.to);
        if (batch === undefined) batches.set(message.to, [message]);
        else batch.push(message);
      } else {
        this.#log.warn({ to: message.to, type: MessageType[message.type] }, "message type does not travel");
      }
    }
    for (const [id, batch] of batches) this.#peers.get(id)?.send(batch);
  }

  setPeers(peers: readonly PeerAddress[]): void {
    if (this.#stopped) return;
    const wanted = new Map<NodeId, string>();
    for (const { id, peerUrls } of peers) {
      const url = peerUrls[0];
      if (id !== this.options.self.memberId && url !== undefined) wanted.set(id, url);
    }
    for (const [id, peer] of this.#peers) {
      const url = wanted.get(id);
      if (url === peer.url) continue;
      peer.stop();
      this.#peers.delete(id);
      // A peer that only moved gets its snapshot again, at its new URL.
      if (this.#snapshots.cancel(id) && url !== undefined) {
        this.#later((events) => {
          events.onSnapshotResult(id, false);
        });
      }
    }
    for (const [id, url] of wanted) {
      if (!this.#peers.has(id)) this.#peers.set(id, this.#openPeer(id, url));
    }
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#snapshots.stop();
    for (const peer of this.#peers.values()) peer.stop();
    this.#peers.clear();
  }

  /** What the stream to `id` does; null when `id` is no peer. For metrics and tests. */
  stats(id: NodeId): PeerStats | null {
    return this.#peers.get(id)?.stats() ?? null;
  }

  #openPeer(id: NodeId, url: string): Peer {
    const { self, clock, random } = this.options;
    return new Peer({
      id,
      url,
      self,
      clock,
      random,
      log: this.#log,
      limits: this.#peerLimits,
      dial: (target) => this.#dial(target),
      onUnreachable: (peer) => {
        this.#later((events) => {
          events.onUnreachable(peer);
        });
      },
      onRefused: (peer, reason, text) => {
        this.#later((events) => {
          events.onRefused(peer, reason, text);
        });
      },
    });
  }

  #dial(url: string): ReturnType<typeof createRaftClient> {
    return createRaftClient(url, this.options.credentialsFor(url));
  }

  /** Tells the node, in a turn of its own. */
  #later(tell: (events: TransportEvents) => void): void {
    setImmediate(() => {
      if (!this.#stopped) tell(this.options.events);
    });
  }
}
