/**
 * The sending end of one peer's Exchange stream, kept open, with a bounded queue.
 *
 * States: connecting (dialled, handshake sent, not answered), open, waiting (for the next attempt), stopped.
 *
 * Invariants: the bytes and messages that wait never exceed the limits, whether they wait here or inside the stream,
 * which itself buffers without bound. A full queue loses the newest messages, and a stream that ends loses all that
 * wait; onUnreachable reports both, at most once per period. Order is kept within a stream.
 *
 * Each attempt has its own channel, so that only the injected clock decides when this member dials.
 */
import { status } from "@grpc/grpc-js";
import type { ClientDuplexStream, StatusObject } from "@grpc/grpc-js";
import { ExchangeRequest } from "../generated/muster/raft/v1/raft_service";
import type { ExchangeResponse } from "../generated/muster/raft/v1/raft_service";
import type { Message, NodeId, RandomSource } from "../raft/index";
import { fromGrpcFailure } from "../rpc/grpc_status";
import { Backoff } from "./backoff";
import type { Clock, Timer } from "../base/clock";
import { encodeBatches } from "./codec";
import type { EncodedBatch } from "./codec";
import { handshakeOf } from "./handshake";
import type { Self } from "./handshake";
import type { LogFields, Log } from "../base/log";
import type { Dial, PeerChannel } from "./dial";
import type { RosterDigest } from "./transport";

/** Bounds of one peer. */
export interface PeerLimits {
  /**
   * Largest request, in bytes; at most what the receiver takes. Raise it together with the size of an append; a larger
   * request delays the heartbeats behind it.
   *
   * @default 4 MiB: an append of 1 MiB, and several of them in one request
   */
  readonly requestBytesMax: number;
  /**
   * Most messages that wait. Raise it when bursts of small messages are lost (droppedMessages); what waits for long is
   * outdated when it arrives.
   *
   * @default 4096
   */
  readonly queueMessagesMax: number;
  /**
   * Most bytes that wait. One request is always taken when nothing waits, however large. Raise it for links with a long
   * round trip; each slow peer may take up this much memory.
   *
   * @default 16 MiB
   */
  readonly queueBytesMax: number;
  /**
   * Time from dialling to the answer of the handshake, in milliseconds. Raise it for links on which connecting takes
   * seconds; lower it to try again sooner when packets are lost.
   *
   * @default 5000
   */
  readonly connectTimeoutMs: number;
  /**
   * Least time between two calls of onUnreachable, in milliseconds. One call makes the core probe the peer; more of
   * them tell it nothing new.
   *
   * @default 100
   */
  readonly unreachablePeriodMs: number;
  /**
   * Pause after a refusal, in milliseconds. The roster has to change before the peer accepts this member, so a shorter
   * pause only costs attempts; a longer one delays a member that is accepted again. A stream that stayed open for as
   * long also starts the backoff anew.
   *
   * @default 1000
   */
  readonly refusedPauseMs: number;
}

export const DEFAULT_PEER_LIMITS: PeerLimits = {
  requestBytesMax: 4 * 1024 * 1024,
  queueMessagesMax: 4096,
  queueBytesMax: 16 * 1024 * 1024,
  connectTimeoutMs: 5000,
  unreachablePeriodMs: 100,
  refusedPauseMs: 1000,
};

interface PeerOptions {
  readonly id: NodeId;
  /** Where its peer listener may be; not empty. */
  readonly urls: readonly string[];
  /** This member, for its handshakes. */
  readonly self: Self;
  /** Measures pauses and time limits. */
  readonly clock: Clock;
  /** Draws the pauses between attempts. */
  readonly random: RandomSource;
  readonly log: Log;
  readonly limits: PeerLimits;
  /** Opens the channel of one attempt. */
  readonly dial: Dial;
  /** Whether this member's disk is full now. */
  readonly diskFull: boolean;
  /** Messages to the peer were lost. May be called from inside send(); the transport defers it. */
  onUnreachable(id: NodeId): void;
  /** The peer accepted the handshake of a stream. */
  onAccepted(id: NodeId): void;
  /** The peer refused the stream, with the reason and the text of its error. */
  onRefused(id: NodeId, reason: string, text: string): void;
}

type PeerState = "connecting" | "open" | "waiting" | "stopped";

/** The state of a peer and what it has done so far. For metrics and tests. */
export interface PeerStats {
  readonly state: PeerState;
  readonly pendingMessages: number;
  readonly pendingBytes: number;
  readonly sentMessages: number;
  readonly droppedMessages: number;
  /** Streams whose handshake was accepted. */
  readonly accepted: number;
  /** Attempts to connect. */
  readonly attempts: number;
}

type ExchangeStream = ClientDuplexStream<ExchangeRequest | Buffer, ExchangeResponse>;

/** One attempt: its channel, its stream, and the messages that wait in it. */
interface Connection {
  readonly client: PeerChannel;
  readonly stream: ExchangeStream;
  readonly timer: Timer;
  /** Batches that wait for the handshake to be accepted. */
  queue: EncodedBatch[];
  /** When the handshake was accepted, on the clock's scale; null before. */
  acceptedAtMs: number | null;
  pendingMessages: number;
  pendingBytes: number;
}

/** How a stream or an attempt ended. */
type Ending = Pick<StatusObject, "code" | "details"> & { readonly metadata?: StatusObject["metadata"] };

export class Peer {
  private connection: Connection | null = null;
  private retry: Timer | null = null;
  private stopped = false;
  private lastUnreachableMs: number | null = null;
  /** The last ending that was logged as a warning. The same ending again is logged at debug level. */
  private lastProblem = "";
  private sentMessages = 0;
  private droppedMessages = 0;
  private accepted = 0;
  private attempts = 0;
  private diskFull: boolean;
  private readonly backoff: Backoff;
  private urls: readonly string[];
  /** Which of the addresses is in use. */
  private at = 0;

  constructor(private readonly options: PeerOptions) {
    this.diskFull = options.diskFull;
    this.urls = options.urls;
    this.backoff = new Backoff(options.random);
    this.connect();
  }

  /** The address that is in use, or tried next. */
  get url(): string {
    return this.urls[this.at] ?? "";
  }

  /** Replaces the addresses; the one in use is among the new ones. While no stream is open, a new one is tried at once. */
  setUrls(urls: readonly string[]): void {
    const { url } = this;
    const added = urls.find((other) => !this.urls.includes(other));
    this.urls = urls;
    this.at = Math.max(0, urls.indexOf(url));
    if (added === undefined || this.stopped || this.state === "open") return;
    this.at = urls.indexOf(added);
    this.retry?.cancel();
    const { connection } = this;
    this.connection = null;
    if (connection !== null) {
      this.droppedMessages += connection.pendingMessages;
      release(connection);
    }
    this.connect();
  }

  private get state(): PeerState {
    if (this.stopped) return "stopped";
    if (this.connection === null) return "waiting";
    return this.connection.acceptedAtMs === null ? "connecting" : "open";
  }

  stats(): PeerStats {
    return {
      state: this.state,
      pendingMessages: this.connection?.pendingMessages ?? 0,
      pendingBytes: this.connection?.pendingBytes ?? 0,
      sentMessages: this.sentMessages,
      droppedMessages: this.droppedMessages,
      accepted: this.accepted,
      attempts: this.attempts,
    };
  }

  /**
   * Sends `messages` as one batch, or as several when one request can't hold them. A full queue loses them.
   *
   * @param digest of the roster, sent after them; null: none
   */
  send(messages: readonly Message[], digest: RosterDigest | null = null): void {
    if (this.stopped || messages.length === 0) return;
    const connection = this.connection;
    if (connection === null || isFull(connection, this.options.limits)) {
      this.drop(messages.length);
      return;
    }
    const { batches, oversized } = encodeBatches(messages, this.options.limits.requestBytesMax);
    if (oversized > 0) {
      this.options.log.warn({ peer: this.options.id, messages: oversized }, "message too large to be sent");
      this.drop(oversized);
    }
    let full = false;
    for (const batch of batches) {
      // Once one batch is lost, the rest is too: the receiver could not use entries that follow a gap.
      full ||= !fits(connection, batch, this.options.limits);
      if (full) this.drop(batch.messageCount);
      else this.enqueue(connection, batch);
    }
    if (digest === null || full) return;
    const rosterDigest = { revision: digest.revision, digest: Buffer.from(digest.digest) };
    const request = { handshake: undefined, messages: [], rosterDigest };
    this.enqueue(connection, {
      bytes: Buffer.from(ExchangeRequest.encode(request).finish()),
      messageCount: 0,
    });
  }

  /** Tells the peer whether this member's disk is full: now, or when it is connected. */
  setDiskFull(full: boolean): void {
    this.diskFull = full;
    const { connection } = this;
    if (!this.stopped && connection !== null && connection.acceptedAtMs !== null) this.tellDisk(connection);
  }

  private tellDisk({ stream }: Connection): void {
    stream.write({ handshake: undefined, messages: [], rosterDigest: undefined, diskFull: this.diskFull });
  }

  /** Ends stream and channel. No callback comes afterwards. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.retry?.cancel();
    const connection = this.connection;
    this.connection = null;
    if (connection !== null) release(connection);
  }

  private enqueue(connection: Connection, batch: EncodedBatch): void {
    connection.pendingBytes += batch.bytes.length;
    connection.pendingMessages += batch.messageCount;
    if (connection.acceptedAtMs === null) connection.queue.push(batch);
    else this.write(connection, batch);
  }

  private write(connection: Connection, batch: EncodedBatch): void {
    connection.stream.write(batch.bytes, () => {
      // Called when the bytes have left the stream's own buffer, or the call has ended.
      connection.pendingBytes -= batch.bytes.length;
      connection.pendingMessages -= batch.messageCount;
    });
    this.sentMessages += batch.messageCount;
  }

  private drop(count: number): void {
    this.droppedMessages += count;
    this.reportUnreachable();
  }

  private reportUnreachable(): void {
    const now = this.options.clock.now();
    const last = this.lastUnreachableMs;
    if (last !== null && now - last < this.options.limits.unreachablePeriodMs) return;
    this.lastUnreachableMs = now;
    this.options.onUnreachable(this.options.id);
  }

  private connect(): void {
    const { id, self, clock, limits } = this.options;
    this.attempts++;
    this.retry = null;
    let client: PeerChannel;
    let stream: ExchangeStream;
    try {
      client = this.options.dial(this.url);
      stream = client.exchange();
    } catch (error) {
      const details = error instanceof Error ? error.message : String(error);
      this.ended(null, { code: status.INVALID_ARGUMENT, details });
      return;
    }
    const timer = clock.setTimeout(() => {
      const details = `no answer to the handshake within ${limits.connectTimeoutMs} ms`;
      this.ended(connection, { code: status.DEADLINE_EXCEEDED, details });
    }, limits.connectTimeoutMs);
    const connection: Connection = {
      client,
      stream,
      timer,
      queue: [],
      acceptedAtMs: null,
      pendingMessages: 0,
      pendingBytes: 0,
    };
    this.connection = connection;
    stream.on("data", () => {
      this.onAccepted(connection);
    });
    // Every ending, OK included, comes as a status. An error event repeats it, and would throw without a listener.
    stream.on("error", () => undefined);
    stream.on("status", (ending: StatusObject) => {
      this.ended(connection, ending);
    });
    stream.write({ handshake: handshakeOf(self, id), messages: [], rosterDigest: undefined });
  }

  private onAccepted(connection: Connection): void {
    if (this.connection !== connection || connection.acceptedAtMs !== null) return;
    connection.timer.cancel();
    connection.acceptedAtMs = this.options.clock.now();
    this.accepted++;
    this.lastProblem = "";
    this.options.log.info(this.fields(), "stream to peer is open");
    if (this.diskFull) this.tellDisk(connection);
    const waiting = connection.queue;
    connection.queue = [];
    for (const batch of waiting) this.write(connection, batch);
    this.options.onAccepted(this.options.id);
  }

  /** An attempt failed or a stream ended. Sets the timer of the next attempt. Null: the URL could not be dialled. */
  private ended(connection: Connection | null, ending: Ending): void {
    if (this.stopped || this.connection !== connection) return;
    this.connection = null;
    if (connection !== null) {
      this.droppedMessages += connection.pendingMessages;
      release(connection);
    }
    const refusal = refusalOf(ending);
    const pauseMs = this.pause(connection, refusal !== null);
    this.retry = this.options.clock.setTimeout(() => {
      this.connect();
    }, pauseMs);
    this.logEnding(ending, refusal, pauseMs);
    // A stream that was open tries the same address first.
    if (connection?.acceptedAtMs == null) this.at = (this.at + 1) % this.urls.length;
    // Last, when the new state is in place: a listener may stop this peer.
    this.reportUnreachable();
    if (refusal !== null) this.options.onRefused(this.options.id, refusal, ending.details);
  }

  private pause(connection: Connection | null, refused: boolean): number {
    const acceptedAtMs = connection?.acceptedAtMs ?? null;
    // A stream that is accepted and ends at once must not make this member dial in a tight loop.
    const stayedMs = acceptedAtMs === null ? 0 : this.options.clock.now() - acceptedAtMs;
    if (stayedMs >= this.options.limits.refusedPauseMs) this.backoff.reset();
    return refused ? this.options.limits.refusedPauseMs : this.backoff.next();
  }

  private logEnding(ending: Ending, refusal: string | null, pauseMs: number): void {
    const problem = `${refusal ?? ""} ${ending.code} ${ending.details}`;
    const fields = { ...this.fields(), reason: refusal ?? "", problem: ending.details, retry_ms: pauseMs };
    const text = refusal === null ? "stream to peer ended" : "peer refuses this member";
    if (problem === this.lastProblem) this.options.log.debug(fields, text);
    else this.options.log.warn(fields, text);
    this.lastProblem = problem;
  }

  private fields(): LogFields {
    return { peer: this.options.id, url: this.url };
  }
}

function isFull(connection: Connection, limits: PeerLimits): boolean {
  return (
    connection.pendingMessages >= limits.queueMessagesMax || connection.pendingBytes >= limits.queueBytesMax
  );
}

function fits(connection: Connection, batch: EncodedBatch, limits: PeerLimits): boolean {
  if (connection.pendingMessages === 0) return true;
  return (
    connection.pendingMessages + batch.messageCount <= limits.queueMessagesMax &&
    connection.pendingBytes + batch.bytes.length <= limits.queueBytesMax
  );
}

function release(connection: Connection): void {
  connection.timer.cancel();
  connection.queue = [];
  connection.stream.cancel();
  connection.client.close();
}

/** The reason of a refusal; null for an ending that passes by itself: a stopping server, a lost connection. */
function refusalOf(ending: Ending): string | null {
  if (ending.code === status.UNAVAILABLE || ending.code === status.CANCELLED) return null;
  return fromGrpcFailure(ending).reason;
}
