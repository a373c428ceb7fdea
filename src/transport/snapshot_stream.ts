/**
 * The sending end of InstallSnapshot: each snapshot is a call on a channel of its own.
 *
 * First request: handshake, message, length. Then the data in chunks, each written when the one before has left (the
 * flow control of HTTP/2 sets the pace); the last one carries the CRC-32 of all data. The peer answers once it has
 * handed the snapshot to its core.
 *
 * Invariants: at most `concurrencyMax` calls at a time, the rest waits in order; one snapshot per peer (a newer one
 * replaces it); each snapshot that is not replaced, and whose peer stays, has exactly one result.
 *
 * Raft paper, section 7. The receiving end is snapshot_receiver.ts.
 */
import { crc32 } from "node:zlib";
import type { ClientWritableStream } from "@grpc/grpc-js";
import type { InstallSnapshotRequest } from "../generated/muster/raft/v1/raft_service";
import { EMPTY_BYTES } from "../raft/index";
import type { Message, NodeId } from "../raft/index";
import type { Clock, Timer } from "../base/clock";
import { messageToWire } from "./codec";
import { handshakeOf } from "./handshake";
import type { Self } from "./handshake";
import type { TransportLog } from "../base/log";
import type { RaftClient } from "./service_definition";

export { SnapshotRefused, receiveSnapshot } from "./snapshot_receiver";
export type { ReceivedSnapshot, SnapshotCall, SnapshotLimits } from "./snapshot_receiver";

export interface SnapshotSenderOptions {
  readonly self: Self;
  readonly clock: Clock;
  readonly log: TransportLog;
  /** Snapshots sent at the same time. */
  readonly concurrencyMax: number;
  /** Data per request, in bytes. */
  readonly chunkBytes: number;
  /** A call in which nothing moves for this long is given up. */
  readonly progressTimeoutMs: number;
  /** A fresh channel to `url`. May throw. */
  dial(url: string): RaftClient;
  /** May be called from inside send(): the transport defers it. */
  onResult(id: NodeId, delivered: boolean): void;
}

export const DEFAULT_SNAPSHOT_LIMITS = {
  concurrencyMax: 2,
  chunkBytes: 256 * 1024,
  progressTimeoutMs: 30_000,
} as const;

interface Job {
  readonly message: Message;
  readonly url: string;
}

export class SnapshotSender {
  /** Waiting and running; a peer is in one of them at most. */
  readonly #waiting = new Map<NodeId, Job>();
  readonly #running = new Map<NodeId, SnapshotTransfer>();

  constructor(private readonly options: SnapshotSenderOptions) {}

  /** Sends `message` (a Snapshot) to the peer at `url`, now or when one of those before is done. */
  send(message: Message, url: string): void {
    this.cancel(message.to);
    this.#waiting.set(message.to, { message, url });
    this.#startWaiting();
  }

  /** Gives up what is on its way to `id`; there is no result. */
  cancel(id: NodeId): boolean {
    const running = this.#running.get(id);
    running?.abandon();
    const known = this.#waiting.delete(id) || running !== undefined;
    this.#running.delete(id);
    this.#startWaiting();
    return known;
  }

  stop(): void {
    this.#waiting.clear();
    for (const transfer of this.#running.values()) transfer.abandon();
    this.#running.clear();
  }

  #startWaiting(): void {
    for (const [id, job] of this.#waiting) {
      if (this.#running.size >= this.options.concurrencyMax) return;
      this.#waiting.delete(id);
      const transfer = new SnapshotTransfer(job, this.options, (problem) => {
        this.#running.delete(id);
        const fields = { peer: id, index: job.message.snapshot?.meta.index ?? 0 };
        if (problem === null) this.options.log.info(fields, "snapshot delivered");
        else this.options.log.warn({ ...fields, problem }, "snapshot not delivered");
        this.options.onResult(id, problem === null);
        this.#startWaiting();
      });
      this.#running.set(id, transfer);
      transfer.start();
    }
  }
}

/** One call. */
class SnapshotTransfer {
  #client: RaftClient | null = null;
  #call: ClientWritableStream<InstallSnapshotRequest | Buffer> | null = null;
  #timer: Timer | null = null;
  #over = false;
  #offset = 0;
  #crc = 0;
  readonly #data: Uint8Array;

  constructor(
    private readonly job: Job,
    private readonly options: SnapshotSenderOptions,
    private readonly done: (problem: string | null) => void,
  ) {
    this.#data = job.message.snapshot?.data ?? EMPTY_BYTES;
  }

  start(): void {
    const { message, url } = this.job;
    try {
      this.#client = this.options.dial(url);
      this.#call = this.#client.installSnapshot((error) => {
        this.#finish(error === null ? null : error.details || error.message);
      });
    } catch (error) {
      this.#finish(error instanceof Error ? error.message : String(error));
      return;
    }
    // The answer comes by the callback; without a listener an error event would throw.
    this.#call.on("error", () => undefined);
    this.#write({
      handshake: handshakeOf(this.options.self, message.to),
      message: messageToWire(message),
      sizeBytes: this.#data.length,
      chunk: Buffer.alloc(0),
    });
  }

  abandon(): void {
    this.#over = true;
    this.#release();
  }

  #write(request: InstallSnapshotRequest): void {
    this.#restartTimer();
    this.#call?.write(request, (error: Error | null | undefined) => {
      // A failed write is followed by the end of the call, which says why.
      if (!this.#over && !error) this.#writeNext(request.crc32 !== undefined);
    });
  }

  #writeNext(lastIsWritten: boolean): void {
    if (lastIsWritten) {
      this.#restartTimer();
      this.#call?.end();
      return;
    }
    const chunk = this.#data.subarray(this.#offset, this.#offset + this.options.chunkBytes);
    this.#offset += chunk.length;
    this.#crc = crc32(chunk, this.#crc);
    this.#write({
      handshake: undefined,
      message: undefined,
      sizeBytes: 0,
      chunk: Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength),
      crc32: this.#offset >= this.#data.length ? this.#crc : undefined,
    });
  }

  #restartTimer(): void {
    const { clock, progressTimeoutMs } = this.options;
    this.#timer?.cancel();
    this.#timer = clock.setTimeout(() => {
      this.#finish(`no progress for ${progressTimeoutMs} ms`);
    }, progressTimeoutMs);
  }

  #finish(problem: string | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#release();
    this.done(problem);
  }

  #release(): void {
    this.#timer?.cancel();
    this.#call?.cancel();
    this.#client?.close();
  }
}
