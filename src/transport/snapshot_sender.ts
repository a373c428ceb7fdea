/**
 * The sending end of InstallSnapshot. Each snapshot is one call on its own channel.
 *
 * The first request has the handshake, the message and the length. The data follow in chunks, each written when the one
 * before it has left, so that HTTP/2 flow control sets the pace; the last chunk carries the CRC-32 of all data. The
 * peer answers once it has handed the snapshot to its core.
 *
 * Invariants: at most `concurrencyMax` calls at a time; other snapshots wait in order. At most one snapshot per peer: a
 * newer one replaces it. Each snapshot that is neither replaced nor cancelled has exactly one result.
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
import type { Log } from "../base/log";
import type { Dial, PeerChannel } from "./dial";

interface SnapshotSenderOptions {
  /** This member, for its handshakes. */
  readonly self: Self;
  /** Measures how long a call makes no progress. */
  readonly clock: Clock;
  readonly log: Log;
  /**
   * Most snapshots sent at the same time. Raise it to catch up many members at once; each one takes bandwidth from the
   * streams of the same leader.
   *
   * @default 2
   */
  readonly concurrencyMax: number;
  /**
   * Data per request, in bytes; at most what the peer's listener receives. A larger chunk has less overhead, a smaller
   * one needs less memory and shows progress on slow links sooner.
   *
   * @default 256 KiB
   */
  readonly chunkBytes: number;
  /**
   * How long a call may make no progress before it is given up, in milliseconds. Raise it for slow links; lower it to
   * start again sooner with a peer that stopped reading.
   *
   * @default 30000
   */
  readonly progressTimeoutMs: number;
  /** Opens a channel of one snapshot. */
  readonly dial: Dial;
  /** May be called from inside send(); the transport defers it. */
  onResult(id: NodeId, delivered: boolean): void;
}

export const DEFAULT_SNAPSHOT_LIMITS = {
  concurrencyMax: 2,
  chunkBytes: 256 * 1024,
  progressTimeoutMs: 30_000,
} as const;

/** A snapshot and its receiver's URL. */
interface Job {
  readonly message: Message;
  readonly url: string;
}

export class SnapshotSender {
  // A peer is in at most one of the two.
  private readonly waiting = new Map<NodeId, Job>();
  private readonly running = new Map<NodeId, SnapshotTransfer>();

  constructor(private readonly options: SnapshotSenderOptions) {}

  /** Sends `message`, a Snapshot, to the peer at `url`: now, or when it is its turn. */
  send(message: Message, url: string): void {
    this.cancel(message.to);
    this.waiting.set(message.to, { message, url });
    this.startWaiting();
  }

  /** Gives up the snapshot for `id`, without a result. Returns whether there was one. */
  cancel(id: NodeId): boolean {
    const running = this.running.get(id);
    running?.abandon();
    const known = this.waiting.delete(id) || running !== undefined;
    this.running.delete(id);
    this.startWaiting();
    return known;
  }

  /** Gives up every snapshot, without results. */
  stop(): void {
    this.waiting.clear();
    for (const transfer of this.running.values()) transfer.abandon();
    this.running.clear();
  }

  private startWaiting(): void {
    for (const [id, job] of this.waiting) {
      if (this.running.size >= this.options.concurrencyMax) return;
      this.waiting.delete(id);
      const transfer = new SnapshotTransfer(job, this.options, (problem) => {
        this.running.delete(id);
        const fields = { peer: id, index: job.message.snapshot?.meta.index ?? 0 };
        if (problem === null) this.options.log.info(fields, "snapshot delivered");
        else this.options.log.warn({ ...fields, problem }, "snapshot not delivered");
        this.options.onResult(id, problem === null);
        this.startWaiting();
      });
      this.running.set(id, transfer);
      transfer.start();
    }
  }
}

/** The call of one snapshot. Calls `done` at most once: with the problem, or with null when it was delivered. */
class SnapshotTransfer {
  private client: PeerChannel | null = null;
  private call: ClientWritableStream<InstallSnapshotRequest | Buffer> | null = null;
  private timer: Timer | null = null;
  private over = false;
  private offset = 0;
  private crc = 0;
  private readonly data: Uint8Array;

  constructor(
    private readonly job: Job,
    private readonly options: SnapshotSenderOptions,
    private readonly done: (problem: string | null) => void,
  ) {
    this.data = job.message.snapshot?.data ?? EMPTY_BYTES;
  }

  start(): void {
    const { message, url } = this.job;
    try {
      this.client = this.options.dial(url);
      this.call = this.client.installSnapshot((error) => {
        this.finish(error === null ? null : error.details || error.message);
      });
    } catch (error) {
      this.finish(error instanceof Error ? error.message : String(error));
      return;
    }
    // The callback above has the answer. An error event without a listener would throw.
    this.call.on("error", () => undefined);
    this.write({
      handshake: handshakeOf(this.options.self, message.to),
      message: messageToWire(message),
      sizeBytes: this.data.length,
      chunk: Buffer.alloc(0),
    });
  }

  /** Ends the call. `done` is not called. */
  abandon(): void {
    this.over = true;
    this.release();
  }

  private write(request: InstallSnapshotRequest): void {
    this.restartTimer();
    this.call?.write(request, (error: Error | null | undefined) => {
      // After a failed write the call ends, with the reason.
      if (!this.over && !error) this.writeNext(request.crc32 !== undefined);
    });
  }

  private writeNext(lastIsWritten: boolean): void {
    if (lastIsWritten) {
      this.restartTimer();
      this.call?.end();
      return;
    }
    const chunk = this.data.subarray(this.offset, this.offset + this.options.chunkBytes);
    this.offset += chunk.length;
    this.crc = crc32(chunk, this.crc);
    this.write({
      handshake: undefined,
      message: undefined,
      sizeBytes: 0,
      chunk: Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength),
      crc32: this.offset >= this.data.length ? this.crc : undefined,
    });
  }

  private restartTimer(): void {
    const { clock, progressTimeoutMs } = this.options;
    this.timer?.cancel();
    this.timer = clock.setTimeout(() => {
      this.finish(`no progress for ${progressTimeoutMs} ms`);
    }, progressTimeoutMs);
  }

  private finish(problem: string | null): void {
    if (this.over) return;
    this.over = true;
    this.release();
    this.done(problem);
  }

  private release(): void {
    this.timer?.cancel();
    this.call?.cancel();
    this.client?.close();
  }
}
