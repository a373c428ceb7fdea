/**
 * Writes the log: a queue of batches that goes to the active segment in order, one write and at most one sync at a
 * time. What waits while a write is in flight goes out together in the next one (group commit).
 *
 * Invariants:
 * - callbacks come in the order of the calls, each after its records are durable (or written, without mustSync);
 * - at most one operation of the log is in flight, so "everything before is synced" is known when a write starts;
 * - after the first failed write or sync nothing is written, synced or acknowledged any more;
 * - no space is not a failure: a batch that does not fit stays at the head of the queue, unacknowledged, and the
 *   file is extended again later. Order is kept even then, since what a later batch acknowledges to the core covers
 *   the earlier ones; the reserve is what lets votes through (see hasSpace).
 */
import type { HardState } from "../raft/index";
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
  /** Keeps out of the reserve for hard state. */
  readonly hasEntries: boolean;
  readonly done: StorageCallback;
}

/** What came of a task. "retry": there was no space; it is run again later. */
export type TaskOutcome = "ok" | "retry" | StorageError;

interface TaskItem {
  readonly kind: "task";
  readonly run: (done: (outcome: TaskOutcome) => void) => void;
}

type Item = BatchItem | TaskItem;

export interface LogWriterStart {
  readonly fs: StorageFs;
  readonly dir: string;
  readonly identity: Identity;
  readonly options: ResolvedWalOptions;
  readonly segment: OpenSegment;
  /** All segments, ascending; the last is the active one. */
  readonly segments: readonly SegmentInfo[];
  readonly lastIndex: number;
  readonly hardState: HardState;
  /** Called once, when the log has failed for good. */
  readonly onFailure: (error: StorageError) => void;
}

export class LogWriter {
  private readonly fs: StorageFs;
  private readonly dir: string;
  private readonly options: ResolvedWalOptions;
  private readonly encoder = new RecordEncoder();
  private readonly queue: Item[] = [];
  private active: OpenSegment;
  private readonly segments: SegmentList;
  private position: number;
  private filled: number;
  private chain: number;
  /** As of the last record written, not of the last one queued. */
  private lastIndex: number;
  private hardState: HardState;
  private busy = false;
  private unsynced = false;
  private failure: StorageError | null = null;
  private full = false;
  /** While full: whether space is to be asked for again now. */
  private retryDue = false;
  private cancelRetry: (() => void) | null = null;
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
    // Opened with little room left: fill ahead, or learn that the disk is full, before the first batch comes.
    queueMicrotask(() => {
      this.pump();
    });
  }

  /** Set once the log has failed for good or was closed. */
  get error(): StorageError | null {
    return this.failure;
  }

  /** False from the first refused extension until one succeeds, and after a failure. */
  hasSpace(): boolean {
    return !this.full && this.failure === null;
  }

  /** @returns the bytes that the records take in the log */
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

  /** Runs `run` after everything queued so far; what is queued later waits for it. Not run after a failure. */
  task(run: (done: (outcome: TaskOutcome) => void) => void): void {
    this.push({ kind: "task", run });
  }

  /** Stops the log for good: also called for failures beside it. */
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
    // With an operation in flight the file stays open; a process whose log failed is about to end anyway.
    if (!this.busy) this.active.file.close(() => undefined);
  }

  /** Finishes what is queued, syncs and closes. Batches that wait for space are refused as closed. */
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
    // Not now: a callback never comes inside the call.
    queueMicrotask(() => {
      this.pump();
    });
  }

  /** Deletes segments whose entries all have an index up to `index`. */
  dropSegments(index: number): void {
    if (this.failure === null) this.segments.drop(index);
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

  /** Starts the next operation, when none is in flight. */
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
    if (this.room() < head.sizeBytes + this.reserve() && (!this.full || this.retryDue)) {
      this.grow(head.sizeBytes);
      return;
    }
    if (this.fits(head, 0)) this.writeGroup();
    else this.waitForSpace();
  }

  private room(): number {
    return this.filled - this.position;
  }

  private reserve(): number {
    return this.options.reserveBytes + this.options.hardStateReserveBytes;
  }

  /** Whether a batch may use the space there is, behind `taken` bytes of the same write. */
  private fits(item: BatchItem, taken: number): boolean {
    const keep = item.hasEntries ? this.options.hardStateReserveBytes : 0;
    return this.room() - taken >= item.sizeBytes + keep || item.sizeBytes === 0 || this.droppable(item);
  }

  /** While there is no space a commit index alone is not written: the next hard state carries it. */
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
        // Beyond the first batch the reserve is left alone unless nothing else is to be had.
        if (!this.full && this.room() - bytes < item.sizeBytes + this.reserve()) break;
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

  /** Follows what the log will be once the record is written. */
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
      // The next write starts before the callbacks run, so that it is in flight meanwhile.
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
      // Nothing to write; the callbacks still must not come inside the call.
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

  /** Makes room for `bytes` and the reserve: fills the segment further, or begins the next one. */
  private grow(bytes: number): void {
    const { growBytes, segmentBytes } = this.options;
    const target = Math.max(this.position + bytes + this.reserve(), this.filled + 1);
    const filled = Math.ceil(target / growBytes) * growBytes;
    this.busy = true;
    if (filled > segmentBytes) this.roll(bytes);
    else this.extend(filled);
  }

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
    // The head record itself needs some hundred bytes.
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

  /** The head of the queue waits until there is space again, or is given up when the log is being closed. */
  private waitForSpace(): void {
    if (this.closing === null) {
      this.armRetry();
      return;
    }
    for (const item of this.queue.splice(0)) if (item.kind === "batch") item.done(closedError());
    this.idle();
  }

  private armRetry(): void {
    this.cancelRetry ??= this.options.setTimer(this.options.spaceRetryMs, () => {
      this.cancelRetry = null;
      this.retryDue = true;
      this.pump();
    });
  }

  private stopRetrying(): void {
    this.cancelRetry?.();
    this.cancelRetry = null;
  }

  /** Nothing waits: closes when asked to, or fills ahead before it is needed. */
  private idle(): void {
    if (this.closing !== null) {
      this.finishClosing(this.closing);
      return;
    }
    const { growBytes, segmentBytes } = this.options;
    const low = this.room() < this.reserve() + growBytes / 2;
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
