/** MemoryStorage whose callbacks can be held back, whose writes can fail, and whose disk can be full. */
import { MemoryStorage } from "./memory_storage";
import type { MemoryStorageOptions } from "./memory_storage";
import { StorageError } from "../../../src/storage/storage";
import type { AppendBatch, StorageCallback } from "../../../src/storage/storage";
import type { Snapshot } from "../../../src/raft/index";
import type { WorkQueue } from "./work_queue";

export const IO_ERROR = new StorageError("io", "wal", "EIO", "the disk broke");
export const DISK_FULL = new StorageError("disk-full", "snap", "ENOSPC", "no space");

/** The callbacks that wait; kept apart, since the constructor of MemoryStorage takes `defer` before fields exist. */
class Gate {
  holding = false;
  kept: (() => void)[] = [];
  constructor(private readonly queue: WorkQueue) {}

  readonly defer = (run: () => void): void => {
    if (this.holding) this.kept.push(run);
    else this.queue.defer(run);
  };

  open(): void {
    const kept = this.kept;
    this.holding = false;
    this.kept = [];
    for (const run of kept) this.queue.defer(run);
  }
}

export class TestStorage extends MemoryStorage {
  readonly batches: AppendBatch[] = [];
  space = true;
  /** From the first write on that this is true for, writes are held as by hold(). */
  holdsFrom: (batch: AppendBatch) => boolean = () => false;
  /** What every write answers with. */
  writeError: StorageError | null = null;
  /** What the next snapshots answer with. */
  snapshotError: StorageError | null = null;
  snapshotsSaved = 0;
  private readonly gate: Gate;
  private failureListener: (error: StorageError) => void = () => undefined;

  constructor(queue: WorkQueue, options: Omit<MemoryStorageOptions, "defer"> = {}) {
    const gate = new Gate(queue);
    super({ ...options, defer: gate.defer });
    this.gate = gate;
  }

  /** Writes are visible at once, but not acknowledged until release(). */
  hold(): void {
    this.gate.holding = true;
  }

  release(): void {
    this.holdsFrom = () => false;
    this.gate.open();
  }

  get held(): number {
    return this.gate.kept.length;
  }

  /** The log fails where nobody waits for a write. */
  fail(error: StorageError): void {
    this.failureListener(error);
  }

  override append(batch: AppendBatch, done: StorageCallback): void {
    this.batches.push(batch);
    if (this.holdsFrom(batch)) this.hold();
    const error = this.writeError;
    if (error === null) super.append(batch, done);
    else this.gate.defer(() => done(error));
  }

  override saveSnapshot(snapshot: Snapshot, keepEntries: number, done: StorageCallback): void {
    const error = this.snapshotError;
    if (error !== null) {
      this.gate.defer(() => done(error));
      return;
    }
    this.snapshotsSaved++;
    super.saveSnapshot(snapshot, keepEntries, done);
  }

  override hasSpace(): boolean {
    return this.space && super.hasSpace();
  }

  override onFailure(listener?: (error: StorageError) => void): void {
    if (listener !== undefined) this.failureListener = listener;
  }
}
