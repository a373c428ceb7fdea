/**
 * The sending end towards one peer: one Exchange stream, kept open, with a bounded queue.
 *
 * States: connecting (dialled, handshake sent, no answer yet), open, waiting (until the next attempt), stopped.
 *
 * Invariants: bytes and messages that were taken and not yet handed to the network never exceed the limits, whether
 * they wait here or inside the stream (which itself buffers without bound). A full queue loses the newest messages;
 * a stream that ends loses all that waits; both are told by onUnreachable, at most once per period. Order is kept
 * within a stream. Nothing is reported from inside send().
 *
 * Every attempt has a channel of its own, so that when to dial is decided by the injected clock alone.
 */
import { status } from "@grpc/grpc-js";
import type { ClientDuplexStream, StatusObject } from "@grpc/grpc-js";
import type { ExchangeRequest, ExchangeResponse } from "../generated/muster/raft/v1/raft_service";
import type { Message, NodeId, RandomSource } from "../raft/index";
import { Backoff } from "./backoff";
import type { Clock, Timer } from "../base/clock";
import { encodeBatches } from "./codec";
import type { EncodedBatch } from "./codec";
import { handshakeOf } from "./handshake";
import type { Self } from "./handshake";
import type { LogFields, TransportLog } from "../base/log";
import type { RaftClient } from "./service_definition";
import { reasonOf } from "./status_details";

/** Bounds of one peer. */
export interface PeerLimits {
  /** Largest request, in bytes; the receiver's limit must not be lower. */
  readonly requestBytesMax: number;
  /** Most messages that wait. */
  readonly queueMessagesMax: number;
  /** Most bytes that wait. One request is always taken when nothing waits. */
  readonly queueBytesMax: number;
  /** From dialling to the answer of the handshake. */
  readonly connectTimeoutMs: number;
  /** onUnreachable comes at most once in this time. */
  readonly unreachablePeriodMs: number;
  /** Pause after a refusal: it takes a change of the roster to be let in. */
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

export interface PeerOptions {
  readonly id: NodeId;
  readonly url: string;
  readonly self: Self;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: TransportLog;
  readonly limits: PeerLimits;
  /** A fresh channel to `url`. May throw when the URL or its credentials can't be used. */
  dial(url: string): RaftClient;
  /** May be called from inside send(): the transport defers it. */
  onUnreachable(id: NodeId): void;
  onRefused(id: NodeId, reason: string, text: string): void;
}

export type PeerState = "connecting" | "open" | "waiting" | "stopped";

/** What a peer has done so far; for metrics and tests. */
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

/** One attempt: its channel, its stream, and what waits in it. */
interface Connection {
  readonly client: RaftClient;
  readonly stream: ExchangeStream;
  readonly timer: Timer;
  /** Waits for the handshake to be accepted. */
  queue: EncodedBatch[];
  /** Clock time at which the handshake was accepted, or null. */
  acceptedAtMs: number | null;
  pendingMessages: number;
  pendingBytes: number;
}

/** How a stream or an attempt ended. */
type Ending = Pick<StatusObject, "code" | "details"> & { readonly metadata?: StatusObject["metadata"] };

export class Peer {
  #connection: Connection | null = null;
  #retry: Timer | null = null;
  #stopped = false;
  #lastUnreachableMs: number | null = null;
  /** The last ending that was logged at full level; the same again is logged as debug. */
  #lastProblem = "";
  #sentMessages = 0;
  #droppedMessages = 0;
  #accepted = 0;
  #attempts = 0;
  readonly #backoff: Backoff;

  constructor(private readonly options: PeerOptions) {
    this.#backoff = new Backoff(options.random);
    this.#connect();
  }

  get url(): string {
    return this.options.url;
  }

  get #state(): PeerState {
    if (this.#stopped) return "stopped";
    if (this.#connection === null) return "waiting";
    return this.#connection.acceptedAtMs === null ? "connecting" : "open";
  }

  stats(): PeerStats {
    return {
      state: this.#state,
      pendingMessages: this.#connection?.pendingMessages ?? 0,
      pendingBytes: this.#connection?.pendingBytes ?? 0,
      sentMessages: this.#sentMessages,
      droppedMessages: this.#droppedMessages,
      accepted: this.#accepted,
      attempts: this.#attempts,
    };
  }

  /** Sends `messages` as one batch (several when it would be too large for one request), or loses them. */
  send(messages: readonly Message[]): void {
    if (this.#stopped || messages.length === 0) return;
    const connection = this.#connection;
    if (connection === null || isFull(connection, this.options.limits)) {
      this.#drop(messages.length);
      return;
    }
    const { batches, oversized } = encodeBatches(messages, this.options.limits.requestBytesMax);
    if (oversized > 0) {
      this.options.log.warn({ peer: this.options.id, messages: oversized }, "message too large to be sent");
      this.#drop(oversized);
    }
    let full = false;
    for (const batch of batches) {
      // Once one is lost the rest goes too: what follows a gap is of no use to the receiver.
      full ||= !fits(connection, batch, this.options.limits);
      if (full) this.#drop(batch.messageCount);
      else this.#enqueue(connection, batch);
    }
  }

  /** Ends stream and channel. Nothing is called back afterwards. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#retry?.cancel();
    const connection = this.#connection;
    this.#connection = null;
    if (connection !== null) release(connection);
  }

  #enqueue(connection: Connection, batch: EncodedBatch): void {
    connection.pendingBytes += batch.bytes.length;
    connection.pendingMessages += batch.messageCount;
    if (connection.acceptedAtMs === null) connection.queue.push(batch);
    else this.#write(connection, batch);
  }

  #write(connection: Connection, batch: EncodedBatch): void {
    connection.stream.write(batch.bytes, () => {
      // Called when the bytes left the stream's own buffer, or when the call ended.
      connection.pendingBytes -= batch.bytes.length;
      connection.pendingMessages -= batch.messageCount;
    });
    this.#sentMessages += batch.messageCount;
  }

  #drop(count: number): void {
    this.#droppedMessages += count;
    this.#reportUnreachable();
  }

  #reportUnreachable(): void {
    const now = this.options.clock.now();
    const last = this.#lastUnreachableMs;
    if (last !== null && now - last < this.options.limits.unreachablePeriodMs) return;
    this.#lastUnreachableMs = now;
    this.options.onUnreachable(this.options.id);
  }

  #connect(): void {
    const { id, url, self, clock, limits } = this.options;
    this.#attempts++;
    this.#retry = null;
    let client: RaftClient;
    let stream: ExchangeStream;
    try {
      client = this.options.dial(url);
      stream = client.exchange();
    } catch (error) {
      const details = error instanceof Error ? error.message : String(error);
      this.#ended(null, { code: status.INVALID_ARGUMENT, details });
      return;
    }
    const timer = clock.setTimeout(() => {
      const details = `no answer to the handshake within ${limits.connectTimeoutMs} ms`;
      this.#ended(connection, { code: status.DEADLINE_EXCEEDED, details });
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
    this.#connection = connection;
    stream.on("data", () => {
      this.#onAccepted(connection);
    });
    // Every ending, OK included, comes as a status; "error" only repeats it, but would throw without a listener.
    stream.on("error", () => undefined);
    stream.on("status", (ending: StatusObject) => {
      this.#ended(connection, ending);
    });
    stream.write({ handshake: handshakeOf(self, id), messages: [] });
  }

  #onAccepted(connection: Connection): void {
    if (this.#connection !== connection || connection.acceptedAtMs !== null) return;
    connection.timer.cancel();
    connection.acceptedAtMs = this.options.clock.now();
    this.#accepted++;
    this.#lastProblem = "";
    this.options.log.info(this.#fields(), "stream to peer is open");
    const waiting = connection.queue;
    connection.queue = [];
    for (const batch of waiting) this.#write(connection, batch);
  }

  /** An attempt failed or a stream ended (or nothing could be dialled: null). Decides when to try again. */
  #ended(connection: Connection | null, ending: Ending): void {
    if (this.#stopped || this.#connection !== connection) return;
    this.#connection = null;
    if (connection !== null) {
      this.#droppedMessages += connection.pendingMessages;
      release(connection);
    }
    const refusal = refusalOf(ending);
    const pauseMs = this.#pause(connection, refusal !== null);
    this.#retry = this.options.clock.setTimeout(() => {
      this.#connect();
    }, pauseMs);
    this.#logEnding(ending, refusal, pauseMs);
    // After the new state is in place: the listener may stop this peer.
    this.#reportUnreachable();
    if (refusal !== null) this.options.onRefused(this.options.id, refusal, ending.details);
  }

  #pause(connection: Connection | null, refused: boolean): number {
    const acceptedAtMs = connection?.acceptedAtMs ?? null;
    // A stream that is accepted and ends at once must not make us dial in a tight loop.
    const stayedMs = acceptedAtMs === null ? 0 : this.options.clock.now() - acceptedAtMs;
    if (stayedMs >= this.options.limits.refusedPauseMs) this.#backoff.reset();
    return refused ? this.options.limits.refusedPauseMs : this.#backoff.next();
  }

  #logEnding(ending: Ending, refusal: string | null, pauseMs: number): void {
    const problem = `${refusal ?? ""} ${ending.code} ${ending.details}`;
    const fields = { ...this.#fields(), reason: refusal ?? "", problem: ending.details, retry_ms: pauseMs };
    const text = refusal === null ? "stream to peer ended" : "peer refuses this member";
    if (problem === this.#lastProblem) this.options.log.debug(fields, text);
    else this.options.log.warn(fields, text);
    this.#lastProblem = problem;
  }

  #fields(): LogFields {
    return { peer: this.options.id, url: this.options.url };
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

/** The reason of a refusal; null for what passes by itself (a stopping server, a lost connection). */
function refusalOf(ending: Ending): string | null {
  if (ending.code === status.UNAVAILABLE || ending.code === status.CANCELLED) return null;
  return reasonOf(ending)?.reason ?? null;
}
