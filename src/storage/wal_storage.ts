/**
 * The durable implementation of Storage: the log writer, the snapshot store and the log in memory.
 *
 * LogReader shows a batch as soon as it is appended. Its callback is called when it is durable, in the order of the
 * calls. On a full disk a batch waits, unacknowledged, for space. `hasSpace` becomes false when
 * the log cannot be extended, while the reserve is still free: the node then stops taking proposals and append
 * messages, the batches under way fit into the reserve, and votes do not wait behind a batch that does not fit.
 */
import type { ConfState, Entry, HardState, LogGap, Snapshot } from "../raft/index";
import { encodableEntry } from "./entry_codec";
import { closedError, invariant } from "./errors";
import type { DirLock, StorageFile, StorageFs } from "./fs";
import { LogView } from "./log_view";
import { LogWriter } from "./log_writer";
import { resolveWalOptions, type WalOptions } from "./options";
import { hardStateRecord, markRecord, type PendingRecord } from "./pending";
import { MAX_PAYLOAD_BYTES } from "./record";
import type { RecoveredLog } from "./recovery";
import { SnapshotStore } from "./snapshot_store";
import type { AppendBatch, Identity, Storage, StorageCallback, StorageError } from "./storage";

interface PendingSave {
  readonly snapshot: Snapshot;
  readonly keepEntries: number;
  readonly done: StorageCallback;
}

export class WalStorage implements Storage {
  readonly identity: Identity;
  private readonly view: LogView;
  private readonly writer: LogWriter;
  private readonly snapshots: SnapshotStore;
  private readonly initial: { readonly hardState: HardState; readonly confState: ConfState };
  /** The hard state of the last batch, which may not be written yet. */
  private hardState: HardState;
  /**
   * The last hard state handed to the writer. A new commit index alone is not written by itself: the next synced batch
   * contains it, or close writes it. After a crash the member learns the commit index from the leader.
   */
  private logged: HardState;
  private bytesSinceSnapshot: number;
  private readonly saves: PendingSave[] = [];
  private saving = false;
  private closing: StorageCallback | null = null;
  private failureListener: ((error: StorageError) => void) | null = null;

  constructor(
    fs: StorageFs,
    dir: string,
    recovered: RecoveredLog,
    tailFile: StorageFile,
    options: WalOptions,
    private readonly lock: DirLock,
  ) {
    this.identity = recovered.identity;
    this.hardState = recovered.hardState;
    this.logged = recovered.tail.hardState;
    this.initial = { hardState: recovered.hardState, confState: recovered.confState };
    this.view = new LogView(recovered.base, recovered.entries, recovered.snapshot);
    this.bytesSinceSnapshot = recovered.bytesSinceSnapshot;
    this.snapshots = new SnapshotStore(fs, dir, recovered.identity, recovered.snapshots);
    const { path, sequence, position, fileBytes, chain, salt, hardState } = recovered.tail;
    this.writer = new LogWriter({
      fs,
      dir,
      identity: recovered.identity,
      options: resolveWalOptions(options),
      segment: { path, sequence, position, filled: fileBytes, chain, salt, file: tailFile },
      segments: recovered.segmentInfos,
      lastIndex: this.view.lastIndex(),
      hardState,
      onFailure: (error) => {
        this.failSaves(error);
        this.failureListener?.(error);
      },
    });
  }

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return this.initial;
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

  logBytesSinceSnapshot(): number {
    return this.bytesSinceSnapshot;
  }

  hasSpace(): boolean {
    return this.writer.hasSpace();
  }

  onFailure(listener: (error: StorageError) => void): void {
    this.failureListener = listener;
    const { error } = this.writer;
    if (error === null) return;
    queueMicrotask(() => {
      listener(error);
    });
  }

  append(batch: AppendBatch, done: StorageCallback): void {
    const refused = this.refusal();
    if (refused !== null) {
      queueMicrotask(() => {
        done(refused);
      });
      return;
    }
    this.check(batch);
    if (batch.hardState !== null) this.hardState = batch.hardState;
    const { records, mustSync } = this.recordsOf(batch);
    const { snapshot } = batch;
    if (snapshot !== null) {
      this.view.install(snapshot);
      this.bytesSinceSnapshot = 0;
      this.writeBefore(snapshot);
    }
    this.view.append(batch.entries);
    this.bytesSinceSnapshot += this.writer.append(records, mustSync, (error) => {
      if (error === null && snapshot !== null) this.installed(snapshot);
      done(error);
    });
  }

  saveSnapshot(snapshot: Snapshot, keepEntries: number, done: StorageCallback): void {
    const refused = this.refusal();
    if (refused !== null) {
      queueMicrotask(() => {
        done(refused);
      });
      return;
    }
    const { index } = snapshot.meta;
    invariant(
      index <= this.view.lastIndex(),
      `snapshot at ${index} beyond the log, ${this.view.lastIndex()}`,
    );
    this.saves.push({ snapshot, keepEntries, done });
    if (!this.saving) {
      this.saving = true;
      queueMicrotask(() => {
        this.nextSave();
      });
    }
  }

  close(done: StorageCallback): void {
    if (this.closing !== null) {
      queueMicrotask(() => {
        done(closedError());
      });
      return;
    }
    this.closing = done;
    if (!this.saving) this.closeWriter(done);
  }

  /** Why calls are refused: the log failed, or the storage is closing. Null while it works. */
  private refusal(): StorageError | null {
    return this.writer.error ?? (this.closing === null ? null : closedError());
  }

  private closeWriter(done: StorageCallback): void {
    if (!sameState(this.logged, this.hardState)) {
      // The callback of close reports a failure of this write.
      this.writer.append([hardStateRecord(this.hardState)], false, () => undefined);
      this.logged = this.hardState;
    }
    this.writer.close((error) => {
      this.lock.release(() => {
        done(error);
      });
    });
  }

  /** Checks what the core guarantees: only a defect of the core breaks it. */
  private check(batch: AppendBatch): void {
    const { hardState, snapshot, entries } = batch;
    const commit = this.hardState.commit;
    const first = entries[0];
    if (snapshot !== null) {
      invariant(
        snapshot.meta.index > commit,
        `snapshot at ${snapshot.meta.index}, committed up to ${commit}`,
      );
    }
    let last = snapshot?.meta.index ?? this.view.lastIndex();
    if (first !== undefined) {
      if (snapshot !== null)
        invariant(first.index === last + 1, `entry ${first.index} after a snapshot at ${last}`);
      invariant(first.index > commit, `entry ${first.index} would replace a committed one (${commit})`);
      invariant(first.index <= last + 1, `entry ${first.index} leaves a gap after ${last}`);
      last = first.index + entries.length - 1;
    }
    if (hardState !== null) {
      invariant(hardState.commit <= last, `commit ${hardState.commit} beyond the log, ${last}`);
      invariant(hardState.commit >= commit, `commit goes back from ${commit} to ${hardState.commit}`);
      invariant(hardState.term >= this.hardState.term, `term goes back to ${hardState.term}`);
    }
  }

  /**
   * The records of a batch, ordered so that every prefix is a consistent log: term and vote first, because an entry's
   * term must not exceed the member's term; the commit index last, because it must not exceed the last index.
   */
  private recordsOf({ snapshot, entries, mustSync }: AppendBatch): {
    records: PendingRecord[];
    mustSync: boolean;
  } {
    const records: PendingRecord[] = [];
    const next = this.hardState;
    let written = this.logged;
    const voted = next.term !== written.term || next.vote !== written.vote;
    if (!mustSync && !voted && snapshot === null && entries.length === 0) return { records, mustSync };
    if (voted && (snapshot !== null || entries.length > 0)) {
      written = { term: next.term, vote: next.vote, commit: written.commit };
      records.push(hardStateRecord(written));
    }
    if (snapshot !== null) {
      records.push(markRecord({ index: snapshot.meta.index, term: snapshot.meta.term, installed: true }));
    }
    for (const entry of entries) {
      const encodable = encodableEntry(entry);
      invariant(
        encodable.sizeBytes <= MAX_PAYLOAD_BYTES,
        `entry ${entry.index} has ${encodable.sizeBytes} bytes`,
      );
      records.push({ kind: "entry", encodable });
    }
    if (!sameState(next, written)) records.push(hardStateRecord(next));
    this.logged = next;
    return { records, mustSync: true };
  }

  /** Writes the file of a received snapshot. The batch with the snapshot's mark is queued after this task. */
  private writeBefore(snapshot: Snapshot): void {
    this.writer.task((finish) => {
      this.snapshots.write(snapshot, (error) => {
        if (error === null) finish("ok");
        else finish(error.reason === "disk-full" ? "retry" : error);
      });
    });
  }

  /** A received snapshot is durable: the log before it is not needed any more. */
  private installed(snapshot: Snapshot): void {
    this.snapshots.accept(snapshot);
    this.writer.dropSegments(snapshot.meta.index);
  }

  /** Starts the next queued snapshot, or closes when none is left and close was called. */
  private nextSave(): void {
    const save = this.saves[0];
    if (save === undefined) {
      this.saving = false;
      if (this.closing !== null) this.closeWriter(this.closing);
      return;
    }
    const finish = (error: StorageError | null): void => {
      // failSaves has called the callbacks of all queued snapshots already.
      if (this.saves[0] !== save) {
        this.nextSave();
        return;
      }
      this.saves.shift();
      save.done(error);
      this.nextSave();
    };
    if (this.covered(save.snapshot)) {
      // A newer snapshot replaced it. That one may not be durable yet: this callback waits for the writes before it.
      this.writer.append([], true, finish);
      return;
    }
    this.snapshots.write(save.snapshot, (error) => {
      if (error === null) {
        this.markSaved(save, finish);
        return;
      }
      if (error.reason === "io") this.writer.fail(error);
      finish(error);
    });
  }

  private failSaves(error: StorageError): void {
    for (const save of this.saves.splice(0)) save.done(error);
  }

  /** Whether the newest snapshot is as new as this one. */
  private covered(snapshot: Snapshot): boolean {
    return snapshot.meta.index <= this.view.snapshotIndex();
  }

  /** Writes the mark of a saved snapshot, then drops what the snapshot replaces. */
  private markSaved(save: PendingSave, finish: StorageCallback): void {
    const { snapshot, keepEntries } = save;
    const { index, term } = snapshot.meta;
    // A snapshot was received from the leader meanwhile: the log does not contain this one's index any more.
    if (this.covered(snapshot)) {
      this.snapshots.discard(snapshot);
      this.writer.append([], true, finish);
      return;
    }
    const mark = markRecord({ index, term, installed: false });
    const bytesBefore = this.bytesSinceSnapshot;
    this.bytesSinceSnapshot += this.writer.append([mark], true, (error) => {
      if (error !== null) {
        finish(error);
        return;
      }
      this.snapshots.accept(snapshot);
      if (!this.covered(snapshot)) {
        this.view.offer(snapshot);
        this.view.compact(index - keepEntries);
        this.bytesSinceSnapshot = Math.max(0, this.bytesSinceSnapshot - bytesBefore);
      }
      this.writer.dropSegments(Math.min(index - keepEntries, this.snapshots.previousIndex()));
      finish(null);
    });
  }
}

function sameState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}
