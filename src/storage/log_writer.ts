/**
 * Writes the log: a queue of batches that are written to the active segment in order. Batches that are queued during a
 * write share the next write and its sync (group commit).
 *
 * Invariants:
 * - callbacks are called in the order of the calls, each after its records are durable (without mustSync: written);
 * - at most one file operation of the log is in flight, so a write knows whether everything before it is synced;
 * - after the first failed write or sync nothing is written, synced or acknowledged;
 * - a full disk is no failure: a batch that does not fit stays at the head of the queue, unacknowledged, and the
 *   segment is extended again later. Later batches do not overtake it, because their acknowledgements tell the core that
 *   everything before them is durable. Votes get through because the node stops taking entries while hasSpace is false,
 *   and the queued entries fit into the reserve.
 */
import type { HardState } from "../raft/index";
import type { Timer } from "../base/clock";
import { closedError, finalIoError, isNoSpace } from "./errors";
import type { FsError, StorageFs } from "./fs";
import { initialFill, type ResolvedWalOptions } from "./options";
import { encodeRecord, recordBytes, type PendingRecord } from "./pending";
import { RecordEncoder } from "./record";
import { createSegment, writeZeros, type OpenSegment } from "./segment";
import { SegmentList, type SegmentInfo } from "./segment_list";
import type { Identity, StorageCallback, StorageError } from "./storage";

interface BatchItem {
  readonly kind: "batch";
  readonly records: readonly PendingRecord[];
  readonly sizeBytes: number;
  readonly mustSync: boolean;
  /** True: the batch may not use the reserve for hard state. */
  readonly hasEntries: boolean;
  readonly done: StorageCallback;
}

/** Result of a task. "retry": the disk was full, the task is run again later. An error makes the log fail. */
type TaskOutcome = "ok" | "retry" | StorageError;

interface TaskItem {
  readonly kind: "task";
  readonly run: (done: (outcome: TaskOutcome) => void) => void;
}

type Item = BatchItem | TaskItem;

interface LogWriterStart {
  readonly fs: StorageFs;
  readonly dir: string;
  readonly identity: Identity;
  readonly options: ResolvedWalOptions;
  readonly segment: OpenSegment;
  /** All segments, ascending. The last one is active. */
  readonly segments: readonly SegmentInfo[];
  readonly lastIndex: number;
  readonly hardState: HardState;
  /** Called once, when the log fails for good. */
  readonly onFailure: (error: StorageError) => void;
}

export class LogWriter {
  private readonly fs: StorageFs;
  private readonly dir: string;
  private readonly options: ResolvedWalOptions;
  private readonly encoder = new RecordEncoder();
  private readonly queue: Item[] = [];
  /** The segment that is written to. */
  private active: OpenSegment;
  private readonly segments: SegmentList;
  /** Offset in the active segment of the next record. Unit: bytes. */
  private position: number;
  /** Size of the active segment up to which its zeros are on disk. Unit: bytes. */
  private filled: number;
  /** CRC of the last record that was encoded. */
  private chain: number;
  /** Index of the last entry that was encoded. Queued entries come later. */
  private lastIndex: number;
  /** The last hard state that was encoded. */
  private hardState: HardState;
  /** An operation is in flight. */
  private busy = false;
  /** Records were written after the last sync. */
  private unsynced = false;
  private failure: StorageError | null = null;
  /** The last attempt to extend the log or to write a snapshot failed for lack of space. */
  private full = false;
  /** While full: the next operation may try to get space again. */
  private retryDue = false;
  private retryTimer: Timer | null = null;
  private closing: StorageCallback | null = null;

  constructor(private readonly start: LogWriterStart) {
    this.fs = start.fs;
    this.dir = start.dir;
    this.options = start.options;
    this.active = start.segment;
    this.segments = new SegmentList(start.fs, start.dir, start.segments, (error) => {
      this.fail(error);
    });
    this.position = start.segment.position;
    this.filled = start.segment.filled;
    this.chain = start.segment.chain;
    this.lastIndex = start.lastIndex;
    this.hardState = start.hardState;
    // The segment may have little space left: extend it, or find out that the disk is full, before the first batch.
    queueMicrotask(() => {
      this.pump();
    });
  }

  /** Why the log takes no more calls: it failed for good, or it was closed. Null while it works. */
  get error(): StorageError | null {
    return this.failure;
  }

  /** False while the disk is full: from a failed extension until one succeeds. False after a failure too. */
  hasSpace(): boolean {
    return !this.full && this.failure === null;
  }

  /** @returns the size of the records in the log, in bytes */
  append(records: readonly PendingRecord[], mustSync: boolean, done: StorageCallback): number {
    let sizeBytes = 0;
    let hasEntries = false;
    for (const record of records) {
      sizeBytes += recordBytes(record);
      hasEntries ||= record.kind === "entry";
    }
    this.push({ kind: "batch", records, sizeBytes, mustSync, hasEntries, done });
    return sizeBytes;
  }

  /** Queues `run`: it starts after everything queued before, and later calls wait for it. Skipped after a failure. */
  task(run: (done: (outcome: TaskOutcome) => void) => void): void {
    this.push({ kind: "task", run });
  }

  /** Makes the log fail for good. Also called by others, when a snapshot cannot be written. */
  fail(error: StorageError): void {
    if (this.failure !== null) return;
    this.failure = error;
    this.stopRetrying();
    const waiting = this.queue.splice(0);
    this.start.onFailure(error);
    for (const item of waiting) if (item.kind === "batch") item.done(error);
    const closing = this.closing;
    this.closing = null;
    if (closing !== null) {
      queueMicrotask(() => {
        closing(error);
      });
    }
    // With an operation in flight the file stays open. A process ends soon after its log failed.
    if (!this.busy) this.active.file.close(() => undefined);
  }

  /** Writes the queued batches, syncs and closes. Batches that do not fit on the disk fail with "closed". */
  close(done: StorageCallback): void {
    if (this.failure !== null || this.closing !== null) {
      const error = this.failure ?? closedError();
      queueMicrotask(() => {
        done(error);
      });
      return;
    }
    this.closing = done;
    this.retryDue = true;
    // In a turn of its own: a callback is never called inside the call.
    queueMicrotask(() => {
      this.pump();
    });
  }

  /**
   * Deletes every segment whose entries all have an index of at most `index`. To be called when the mark of the snapshot
   * that replaces them is durable, in the callback of its batch: the mark is in the active segment then.
   */
  dropSegments(index: number): void {
    if (this.failure === null) this.segments.drop(index, this.active.sequence);
  }

  private push(item: Item): void {
    const error = this.failure ?? (this.closing === null ? null : closedError());
    if (error === null) {
      this.queue.push(item);
      this.pump();
    } else if (item.kind === "batch") {
      queueMicrotask(() => {
        item.done(error);
      });
    }
  }

  /** Starts the next operation unless one is in flight. */
  private pump(): void {
    if (this.busy || this.failure !== null) return;
    const head = this.queue[0];
    if (head === undefined) {
      this.idle();
      return;
    }
    if (head.kind === "task") {
      if (this.full && !this.retryDue) this.waitForSpace();
      else this.runTask(head);
      return;
    }
    if (this.freeBytes() < head.sizeBytes + this.reserveBytes() && (!this.full || this.retryDue)) {
      this.grow(head.sizeBytes);
      return;
    }
    if (this.fits(head, 0)) this.writeGroup();
    else this.waitForSpace();
  }

  /** Zero-filled bytes after the last record. */
  private freeBytes(): number {
    return this.filled - this.position;
  }

  /** Zero-filled bytes to keep ahead. */
  private reserveBytes(): number {
    return this.options.reserveBytes + this.options.hardStateReserveBytes;
  }

  /** Whether a batch may use the remaining space, after `taken` bytes of the same write. */
  private fits(item: BatchItem, taken: number): boolean {
    const keep = item.hasEntries ? this.options.hardStateReserveBytes : 0;
    return this.freeBytes() - taken >= item.sizeBytes + keep || item.sizeBytes === 0 || this.droppable(item);
  }

  /** On a full disk, a batch with only a new commit index is not written: the next hard state contains the index. */
  private droppable(item: BatchItem): boolean {
    return this.full && !item.mustSync && !item.hasEntries;
  }

  private writeGroup(): void {
    const group: BatchItem[] = [];
    let bytes = 0;
    let mustSync = false;
    for (const item of this.queue) {
      if (item.kind === "task") break;
      const dropped = this.droppable(item);
      if (group.length > 0 && !dropped) {
        if (bytes + item.sizeBytes > this.options.groupBytes) break;
        // Only the first batch may use the reserve, unless the disk is full and only the reserve is left.
        if (!this.full && this.freeBytes() - bytes < item.sizeBytes + this.reserveBytes()) break;
        if (!this.fits(item, bytes)) break;
      }
      group.push(item);
      if (!dropped) bytes += item.sizeBytes;
      mustSync ||= item.mustSync;
    }
    this.queue.splice(0, group.length);
    this.encode(group);
    this.writeEncoded(group, mustSync);
  }

  private encode(group: readonly BatchItem[]): void {
    const { encoder } = this;
    encoder.begin(this.position, this.chain, this.active.salt, !this.unsynced);
    for (const item of group) {
      if (this.droppable(item)) continue;
      for (const record of item.records) this.encodeRecord(record);
    }
  }

  /** Encodes a record and updates the end of the log to match. */
  private encodeRecord(record: PendingRecord): void {
    encodeRecord(this.encoder, record);
    if (record.kind === "entry") this.lastIndex = record.encodable.entry.index;
    else if (record.kind === "hard-state") this.hardState = record.state;
    else if (record.mark.installed) {
      this.lastIndex = record.mark.index;
      this.segments.restartAt(record.mark.index);
    }
  }

  private writeEncoded(group: readonly BatchItem[], mustSync: boolean): void {
    const bytes = this.encoder.bytes();
    const { file, path } = this.active;
    const finish = (error: FsError | null): void => {
      this.busy = false;
      if (error !== null) {
        const failure = finalIoError(path, error);
        this.queue.unshift(...group);
        this.fail(failure);
        return;
      }
      // The next write starts before the callbacks run, so that both proceed at the same time.
      this.pump();
      for (const item of group) item.done(null);
    };
    const sync = (): void => {
      if (!mustSync || !this.unsynced) {
        finish(null);
        return;
      }
      file.sync((error) => {
        if (error === null) this.unsynced = false;
        finish(error);
      });
    };
    this.busy = true;
    if (bytes.length === 0) {
      // Nothing to write. The callbacks must still not be called inside the call.
      queueMicrotask(sync);
      return;
    }
    const at = this.position;
    this.position += bytes.length;
    this.chain = this.encoder.chain;
    this.unsynced = true;
    file.write(bytes, at, (error) => {
      if (error !== null) finish(error);
      else sync();
    });
  }

  private runTask(item: TaskItem): void {
    this.busy = true;
    item.run((outcome) => {
      this.busy = false;
      if (this.failure !== null) return;
      if (outcome === "ok") {
        this.queue.shift();
        this.spaceCameBack();
        this.pump();
      } else if (outcome === "retry") {
        this.ranOutOfSpace();
      } else {
        this.fail(outcome);
      }
    });
  }

  /** Gets space for `bytes` and the reserve: extends the segment, or begins the next one. */
  private grow(bytes: number): void {
    const { growBytes, segmentBytes } = this.options;
    const target = Math.max(this.position + bytes + this.reserveBytes(), this.filled + 1);
    const filled = Math.ceil(target / growBytes) * growBytes;
    this.busy = true;
    if (filled > segmentBytes) this.roll(bytes);
    else this.extend(filled);
  }

  /** Fills the segment with zeros up to `filled` and syncs it. */
  private extend(filled: number): void {
    const { file, path } = this.active;
    const finish = (error: FsError | null, final: boolean): void => {
      this.busy = false;
      if (error === null) {
        this.filled = filled;
        this.unsynced = false;
        this.spaceCameBack();
        this.pump();
      } else if (!final && isNoSpace(error)) {
        this.ranOutOfSpace();
      } else {
        this.fail(finalIoError(path, error));
      }
    };
    writeZeros(file, this.filled, filled, (writeError) => {
      if (writeError !== null) {
        finish(writeError, false);
        return;
      }
      file.sync((syncError) => {
        finish(syncError, true);
      });
    });
  }

  /** Begins the next segment, after a sync of the present one. */
  private roll(bytes: number): void {
    const { file, path } = this.active;
    if (this.unsynced) {
      file.sync((error) => {
        if (error !== null) {
          this.busy = false;
          this.fail(finalIoError(path, error));
          return;
        }
        this.unsynced = false;
        this.roll(bytes);
      });
      return;
    }
    const sequence = this.active.sequence + 1;
    const head = {
      identity: this.start.identity,
      sequence,
      nextIndex: this.lastIndex + 1,
      hardState: this.hardState,
    };
    // The head record takes a few hundred bytes.
    const fill = initialFill(this.options, bytes + 1024);
    createSegment(
      this.fs,
      this.dir,
      head,
      this.chain,
      fill,
      () => undefined,
      (error, segment) => {
        this.busy = false;
        if (this.failure !== null) {
          segment?.file.close(() => undefined);
          return;
        }
        if (segment === null) {
          if (error?.reason === "disk-full") this.ranOutOfSpace();
          else if (error !== null) this.fail(error);
          return;
        }
        file.close(() => undefined);
        this.active = segment;
        this.position = segment.position;
        this.filled = segment.filled;
        this.chain = segment.chain;
        this.segments.add({ sequence, nextIndex: this.lastIndex + 1 });
        this.spaceCameBack();
        this.pump();
      },
    );
  }

  private spaceCameBack(): void {
    this.full = false;
    this.retryDue = false;
    this.stopRetrying();
  }

  private ranOutOfSpace(): void {
    this.full = true;
    this.retryDue = false;
    if (this.closing === null) this.armRetry();
    this.pump();
  }

  /** Leaves the queue until there is space again. When the log is closing, fails the queued batches instead. */
  private waitForSpace(): void {
    if (this.closing === null) {
      this.armRetry();
      return;
    }
    for (const item of this.queue.splice(0)) if (item.kind === "batch") item.done(closedError());
    this.idle();
  }

  private armRetry(): void {
    const { clock, spaceRetryMs } = this.options;
    this.retryTimer ??= clock.setTimeout(() => {
      this.retryTimer = null;
      this.retryDue = true;
      this.pump();
    }, spaceRetryMs);
  }

  private stopRetrying(): void {
    this.retryTimer?.cancel();
    this.retryTimer = null;
  }

  /** The queue is empty: closes the log if asked to, or extends the segment before space is needed. */
  private idle(): void {
    if (this.closing !== null) {
      this.finishClosing(this.closing);
      return;
    }
    const { growBytes, segmentBytes } = this.options;
    const low = this.freeBytes() < this.reserveBytes() + growBytes / 2;
    const extendable = Math.ceil((this.filled + 1) / growBytes) * growBytes <= segmentBytes;
    const wanted = this.full ? this.retryDue : low && extendable;
    if (!wanted) return;
    this.grow(0);
  }

  private finishClosing(done: StorageCallback): void {
    const { file, path } = this.active;
    this.closing = null;
    this.busy = true;
    this.failure = closedError();
    this.stopRetrying();
    const finish = (syncError: FsError | null): void => {
      file.close((closeError) => {
        const error = syncError ?? closeError;
        done(error === null ? null : finalIoError(path, error));
      });
    };
    if (this.unsynced) file.sync(finish);
    else finish(null);
  }
}
