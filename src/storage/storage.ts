/**
 * What the node needs of a disk: an ordered, durable log with hard state and snapshots, read synchronously from memory.
 *
 * Writes are queued in the order of the calls and complete in that order, through callbacks; whatever waits goes out
 * in one write and one sync. What a callback acknowledges survives power loss. The LogReader side shows a write from
 * the moment of the call (the core keeps apart what is stable). The first failed write or sync of the log is final:
 * every later call fails with the same error, and the sync is never tried again.
 */
import type { Entry, HardState, LogReader, Snapshot } from "../raft/index";

/** One step of the log: what one Ready asks to be written. */
export interface AppendBatch {
  readonly hardState: HardState | null;
  /** Consecutive; may overwrite a tail that was not committed. */
  readonly entries: readonly Entry[];
  /** Received from a leader: replaces the log up to its index. Always synced. */
  readonly snapshot: Snapshot | null;
  /** False: only the commit index moved; it reaches the disk with the next batch that is synced, or at close. */
  readonly mustSync: boolean;
}

/** Why storage stopped for good, or refused. */
export type StorageErrorReason =
  /** A write or sync failed. Final: nothing is acknowledged any more. */
  | "io"
  /** No space for a snapshot. Not final, and only of saveSnapshot: an append waits until there is space. */
  | "disk-full"
  | "closed";

export class StorageError extends Error {
  constructor(
    readonly reason: StorageErrorReason,
    /** The file, as far as one is to blame. */
    readonly file: string,
    /** EIO, ENOSPC, ... */
    readonly errno: string,
    message: string,
  ) {
    super(message);
    this.name = "StorageError";
  }
}

export type StorageCallback = (error: StorageError | null) => void;

/** Whose data directory it is. */
export interface Identity {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  /** 16 random bytes, drawn when the directory was made. */
  readonly instanceId: Uint8Array;
}

export interface Storage extends LogReader {
  readonly identity: Identity;

  /** Writes one batch. `done` comes once it is durable (or, without mustSync, handed to the file). */
  append(batch: AppendBatch, done: StorageCallback): void;

  /**
   * Saves a snapshot of the state machine taken here, then drops log entries and snapshot files that are no longer
   * needed: entries up to `snapshot.meta.index - keepEntries` go. `done` comes when the snapshot is durable.
   */
  saveSnapshot(snapshot: Snapshot, keepEntries: number, done: StorageCallback): void;

  /** Bytes of log after the newest snapshot; decides, with the number of entries, when to take the next. */
  logBytesSinceSnapshot(): number;

  /** Whether a write can be taken now; false while there is no space. Votes and hard state go on from a reserve. */
  hasSpace(): boolean;

  /**
   * `listener` is told once when the log has failed for good, also where nothing waits for it: work of its own (filling
   * ahead, dropping what is not needed) can fail, and nothing would be appended that could tell.
   */
  onFailure(listener: (error: StorageError) => void): void;

  /** Finishes what is queued, syncs and closes. */
  close(done: StorageCallback): void;
}
