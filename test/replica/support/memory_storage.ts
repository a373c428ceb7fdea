/**
 * Storage without a disk: for tests of the core and of the node. Behaves as the durable one does as far as a caller
 * can see, apart from surviving anything: callbacks come in order and never inside the call.
 */
import {
  EMPTY_CONF_STATE,
  EMPTY_HARD_STATE,
  type ConfState,
  type Entry,
  type HardState,
  type LogGap,
  type Snapshot,
} from "../../../src/raft/index";
import { closedError } from "../../../src/storage/errors";
import { LogView } from "../../../src/storage/log_view";
import type { AppendBatch, Identity, Storage, StorageCallback } from "../../../src/storage/storage";

export interface MemoryStorageOptions {
  readonly identity?: Identity;
  /** Entries from index 1 on. @default none */
  readonly entries?: readonly Entry[];
  /** @default term 0, no vote, commit 0 */
  readonly hardState?: HardState;
  /** The log then begins after it; `entries` must be empty or follow it. */
  readonly snapshot?: Snapshot;
  /** Given when there is no snapshot: a configuration to start from. */
  readonly confState?: ConfState;
  /** When callbacks run. @default queueMicrotask */
  readonly defer?: (run: () => void) => void;
}

const NOBODY: Identity = { clusterId: 1n, memberId: 1n, instanceId: new Uint8Array(16) };

/** Framing of one record, for logBytesSinceSnapshot; an estimate. */
const RECORD_BYTES = 48;

export class MemoryStorage implements Storage {
  readonly identity: Identity;
  private readonly view: LogView;
  private readonly defer: (run: () => void) => void;
  private state: HardState;
  private conf: ConfState;
  private closed = false;
  private bytesSinceSnapshot = 0;

  constructor(options: MemoryStorageOptions = {}) {
    const snapshot = options.snapshot ?? null;
    this.identity = options.identity ?? NOBODY;
    this.state = options.hardState ?? EMPTY_HARD_STATE;
    this.conf = snapshot?.meta.confState ?? options.confState ?? EMPTY_CONF_STATE;
    const base = snapshot === null ? { index: 0, term: 0 } : snapshot.meta;
    this.view = new LogView(base, [], snapshot);
    this.view.append(options.entries ?? []);
    this.defer = options.defer ?? queueMicrotask;
  }

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: this.state, confState: this.conf };
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] | LogGap {
    return this.view.entries(lo, hi, maxBytes);
  }

  term(index: number): number | LogGap {
    return this.view.term(index);
  }

  firstIndex(): number {
    return this.view.firstIndex();
  }

  lastIndex(): number {
    return this.view.lastIndex();
  }

  snapshot(): Snapshot | null {
    return this.view.snapshot();
  }

  append(batch: AppendBatch, done: StorageCallback): void {
    if (!this.closed) this.appendNow(batch);
    this.answer(done);
  }

  saveSnapshot(snapshot: Snapshot, keepEntries: number, done: StorageCallback): void {
    if (!this.closed) this.saveSnapshotNow(snapshot, keepEntries);
    this.answer(done);
  }

  logBytesSinceSnapshot(): number {
    return this.bytesSinceSnapshot;
  }

  hasSpace(): boolean {
    return !this.closed;
  }

  /** Memory does not fail. */
  onFailure(): void {
    return;
  }

  close(done: StorageCallback): void {
    this.defer(() => {
      this.closed = true;
      done(null);
    });
  }

  /** As append, at once and without a callback. */
  appendNow(batch: Partial<AppendBatch>): void {
    if (batch.snapshot != null) {
      this.view.install(batch.snapshot);
      this.conf = batch.snapshot.meta.confState;
      this.bytesSinceSnapshot = 0;
    }
    const entries = batch.entries ?? [];
    this.view.append(entries);
    for (const entry of entries) this.bytesSinceSnapshot += RECORD_BYTES + entry.data.length;
    if (batch.hardState != null) this.state = batch.hardState;
  }

  /** As saveSnapshot, at once and without a callback. */
  saveSnapshotNow(snapshot: Snapshot, keepEntries: number): void {
    if (snapshot.meta.index <= this.view.snapshotIndex()) return;
    this.view.offer(snapshot);
    this.view.compact(snapshot.meta.index - keepEntries);
    this.conf = snapshot.meta.confState;
    this.bytesSinceSnapshot = 0;
  }

  /** What initialState gives from now on. */
  setHardState(hardState: HardState): void {
    this.state = hardState;
  }

  /** What initialState gives from now on. */
  setConfState(confState: ConfState): void {
    this.conf = confState;
  }

  private answer(done: StorageCallback): void {
    const error = this.closed ? closedError() : null;
    this.defer(() => {
      done(error);
    });
  }
}
