/**
 * The storage interface: an ordered, durable log with hard state and snapshots, read synchronously from memory.
 *
 * Writes are queued in the order of the calls and complete in that order, through callbacks. Queued writes share one
 * write and one sync. A write whose callback reported success survives power loss. LogReader shows a write as soon as
 * it is queued; the core keeps its own record of which entries are stable. The first failed write or sync of the log is
 * final: every later call fails with the same error, and the sync is never repeated.
 */
import type { Entry, HardState, LogReader, Snapshot } from "../raft/index";

/** The writes that one Ready of the core asks for. */
export interface AppendBatch {
  readonly hardState: HardState | null;
  /** Consecutive. May replace entries at the end of the log that are not committed. */
  readonly entries: readonly Entry[];
  /** A snapshot received from a leader. Replaces the whole log. Always synced. */
  readonly snapshot: Snapshot | null;
  /** False when only the commit index moved: it is written with the next synced batch, or at close. */
  readonly mustSync: boolean;
}

/** Why storage failed or refused a call. */
type StorageErrorReason =
  /** A write or sync failed. Final: nothing is acknowledged from then on. */
  | "io"
  /** No space for a snapshot. Only saveSnapshot fails with it, and it is not final. An append waits for space. */
  | "disk-full"
  /** The storage was closed before the call, or before the disk had space for the write. */
  | "closed";

export class StorageError extends Error {
  constructor(
    readonly reason: StorageErrorReason,
    /** The file on which the operation failed; empty when there is none. */
    readonly file: string,
    /** The operating system's code (EIO, ENOSPC, ...); empty when there is none. */
    readonly errno: string,
    message: string,
  ) {
    super(message);
    this.name = "StorageError";
  }
}

export type StorageCallback = (error: StorageError | null) => void;

/** Which member a data directory belongs to. */
export interface Identity {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  /** 16 random bytes, drawn when the directory was created. Differs when a member's directory is created again. */
  readonly instanceId: Uint8Array;
}

export interface Storage extends LogReader {
  readonly identity: Identity;

  /** Queues one batch. `done` is called when it is durable, or, without mustSync, when the batches before it have completed. */
  append(batch: AppendBatch, done: StorageCallback): void;

  /**
   * Saves a snapshot of this member's state machine. Then drops the entries up to `snapshot.meta.index - keepEntries`
   * and the files that nothing needs any more. `done` is called when the snapshot is durable.
   */
  saveSnapshot(snapshot: Snapshot, keepEntries: number, done: StorageCallback): void;

  /** Size of the log after the newest snapshot, in bytes. With the number of entries, it decides when to take the next. */
  logBytesSinceSnapshot(): number;

  /** False while the disk is full. Votes and terms are then still written, from a reserve. */
  hasSpace(): boolean;

  /**
   * Calls `listener` once when the log has failed for good. Needed beside the callbacks of append: background work, such
   * as extending a segment or deleting one, can fail while no append is queued.
   */
  onFailure(listener: (error: StorageError) => void): void;

  /** Writes the queued batches, syncs and closes. */
  close(done: StorageCallback): void;
}
