/**
 * The replicated log as one member sees it: a stable prefix read through LogReader plus an unstable tail that storage
 * has not acknowledged yet.
 *
 * Invariant: applied <= applying <= committed <= lastIndex. `applying` is the last entry handed out to be applied.
 * Raft paper sections 5.3 and 5.4.2. Pure: input by Raft.step, output by Ready.
 */
import { assert } from "./assert";
import { UnstableLog } from "./log_unstable";
import type { LogGap, LogReader } from "./log_reader";
import { countWithin, entriesSize } from "./size";
import type { Entry, Snapshot } from "./types";

/** An entry's index and term. The term is 0 when it is not known. */
export interface LogPosition {
  readonly index: number;
  readonly term: number;
}

const NO_ENTRIES: readonly Entry[] = [];

export class RaftLog {
  private readonly unstable: UnstableLog;
  private committedIndex: number;
  private applyingIndex: number;
  private appliedIndex: number;
  /** Bytes of entries handed out to be applied and not yet applied. */
  private applyingBytes = 0;
  /** The byte limit was reached: no more entries are handed out until some are applied. */
  private applyingPaused = false;

  /** @param maxApplyingBytes limit of bytes handed out to be applied and not yet applied; positive */
  constructor(
    private readonly storage: LogReader,
    private readonly maxApplyingBytes: number,
  ) {
    const snapshotIndex = storage.firstIndex() - 1;
    this.unstable = new UnstableLog(storage.lastIndex() + 1);
    this.committedIndex = snapshotIndex;
    this.applyingIndex = snapshotIndex;
    this.appliedIndex = snapshotIndex;
  }

  get committed(): number {
    return this.committedIndex;
  }

  get applying(): number {
    return this.applyingIndex;
  }

  get applied(): number {
    return this.appliedIndex;
  }

  /** Index of the first entry still held here. */
  firstIndex(): number {
    const snapshot = this.unstable.snapshot;
    return snapshot === null ? this.storage.firstIndex() : snapshot.meta.index + 1;
  }

  lastIndex(): number {
    return this.unstable.lastIndex() || this.storage.lastIndex();
  }

  /** The last index that storage has acknowledged as part of this log. */
  stableIndex(): number {
    return this.unstable.offset - 1;
  }

  lastTerm(): number {
    const term = this.term(this.lastIndex());
    assert(typeof term === "number", "the term of the last entry is unknown");
    return term;
  }

  /** Term of the entry at `index`; known from firstIndex() - 1 to lastIndex(). */
  term(index: number): number | LogGap {
    const term = this.unstable.term(index);
    if (term >= 0) return term;
    if (index + 1 < this.firstIndex()) return "compacted";
    if (index > this.lastIndex()) return "unavailable";
    return this.storage.term(index);
  }

  matchTerm(index: number, term: number): boolean {
    return this.term(index) === term;
  }

  /**
   * Whether a log whose last entry is (term, index) is at least as up to date as this one. Raft paper, section 5.4.1.
   */
  isUpToDate(term: number, index: number): boolean {
    const lastTerm = this.lastTerm();
    return term > lastTerm || (term === lastTerm && index >= this.lastIndex());
  }

  /**
   * Appends the entries of a leader's Append: consecutive, after the entry (prevTerm, prevIndex).
   * @returns the last index up to which the log now matches the leader's, or -1 when the logs differ at prevIndex
   */
  tryAppend(prevIndex: number, prevTerm: number, entries: readonly Entry[], leaderCommit: number): number {
    if (!this.matchTerm(prevIndex, prevTerm)) return -1;
    const lastNew = prevIndex + entries.length;
    const fresh = this.countKnown(entries);
    if (fresh < entries.length) this.append(fresh === 0 ? entries : entries.slice(fresh));
    this.commitTo(Math.min(leaderCommit, lastNew));
    return lastNew;
  }

  /** The number of leading `entries` that this log already holds with the same term. */
  private countKnown(entries: readonly Entry[]): number {
    let count = 0;
    for (const entry of entries) {
      if (!this.matchTerm(entry.index, entry.term)) break;
      count++;
    }
    return count;
  }

  /** Appends entries. Uncommitted entries at and after the first of them are replaced. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    assert(first.index > this.committedIndex, "committed entries would be replaced");
    this.unstable.truncateAndAppend(entries);
  }

  /**
   * The last index at or below `index` whose term is at most `term`: a log that has `term` at `index` can match this
   * one at no index between the two. The term is 0 where this log no longer knows it; the logs may match there.
   */
  findConflictByTerm(index: number, term: number): LogPosition {
    for (let at = index; at > 0; at--) {
      const ours = this.term(at);
      if (typeof ours !== "number") return { index: at, term: 0 };
      if (ours <= term) return { index: at, term: ours };
    }
    return { index: 0, term: 0 };
  }

  /** Raises the commit index; a lower one changes nothing. */
  commitTo(index: number): void {
    if (index <= this.committedIndex) return;
    assert(index <= this.lastIndex(), "commit beyond the end of the log");
    this.committedIndex = index;
  }

  /** Raises the commit index of a leader: only if the entry at `index` is of `term`. Raft paper, section 5.4.2. */
  maybeCommit(index: number, term: number): boolean {
    if (index <= this.committedIndex || !this.matchTerm(index, term)) return false;
    this.commitTo(index);
    return true;
  }

  /**
   * Entries from `lo` to the end of the log, as many as fit into `maxBytes`, at least one; or why they cannot be read.
   */
  entriesFrom(lo: number, maxBytes: number): readonly Entry[] | LogGap {
    const last = this.lastIndex();
    return lo > last ? NO_ENTRIES : this.slice(lo, last + 1, maxBytes);
  }

  /** Entries in [lo, hi), as many as fit into `maxBytes`, but at least one. */
  slice(lo: number, hi: number, maxBytes: number): readonly Entry[] | LogGap {
    if (lo >= hi) return NO_ENTRIES;
    if (lo < this.firstIndex()) return "compacted";
    assert(hi <= this.lastIndex() + 1, "slice beyond the end of the log");
    const { unstable } = this;
    if (lo >= unstable.offset) return limit(unstable.slice(lo, hi), maxBytes);
    const stableEnd = Math.min(hi, unstable.offset);
    const stable = this.storage.entries(lo, stableEnd, maxBytes);
    if (stable === "compacted") return stable;
    assert(stable !== "unavailable", "storage lacks entries that it acknowledged");
    if (stableEnd === hi || stable.length < stableEnd - lo) return stable;
    const remaining = maxBytes === Infinity ? Infinity : maxBytes - entriesSize(stable);
    const tail = unstable.slice(unstable.offset, hi);
    const fitting = countWithin(tail, remaining);
    // countWithin always counts the first entry, however large; here `stable` already holds one.
    const first = tail[0];
    if (fitting === 1 && first !== undefined && entriesSize([first]) > remaining) return stable;
    return [...stable, ...(fitting === tail.length ? tail : tail.slice(0, fitting))];
  }

  /** Unstable entries that have not been handed out to be written. */
  nextUnstableEntries(): readonly Entry[] {
    return this.unstable.hasNextEntries() ? this.unstable.nextEntries() : NO_ENTRIES;
  }

  hasNextUnstableEntries(): boolean {
    return this.unstable.hasNextEntries();
  }

  /** Whether storage has not acknowledged some entries. */
  hasUnstableEntries(): boolean {
    return this.unstable.length > 0;
  }

  nextUnstableSnapshot(): Snapshot | null {
    return this.unstable.nextSnapshot();
  }

  /** Whether storage has not acknowledged a received snapshot. Until then nothing is applied. */
  hasPendingSnapshot(): boolean {
    return this.unstable.snapshot !== null;
  }

  /** Marks the unstable entries and the snapshot as handed out. */
  acceptUnstable(): void {
    this.unstable.accept();
  }

  stableTo(index: number, term: number): void {
    this.unstable.stableTo(index, term);
  }

  stableSnapshotTo(index: number): void {
    this.unstable.stableSnapshotTo(index);
  }

  /**
   * Committed entries to be applied next, within the byte limit.
   * @param allowUnstable whether entries are included that storage has not acknowledged (the caller writes them first)
   */
  nextCommittedEntries(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommittedEntries(allowUnstable)) return NO_ENTRIES;
    const remaining = this.maxApplyingBytes - this.applyingBytes;
    assert(remaining > 0, "entries handed out beyond the limit");
    const entries = this.slice(this.applyingIndex + 1, this.appliableIndex(allowUnstable) + 1, remaining);
    assert(typeof entries !== "string", "committed entries to be applied are gone from the log");
    return entries;
  }

  hasNextCommittedEntries(allowUnstable: boolean): boolean {
    if (this.applyingPaused || this.unstable.snapshot !== null) return false;
    return this.applyingIndex < this.appliableIndex(allowUnstable);
  }

  private appliableIndex(allowUnstable: boolean): number {
    return allowUnstable ? this.committedIndex : Math.min(this.committedIndex, this.unstable.offset - 1);
  }

  /** Marks `entries` as handed out to be applied. */
  acceptApplying(entries: readonly Entry[], allowUnstable: boolean): void {
    const last = entries.at(-1);
    if (last === undefined) return;
    this.applyingIndex = last.index;
    this.applyingBytes += entriesSize(entries);
    // Entries that did not fit wait until some of these are applied, also when a smaller one would still fit.
    this.applyingPaused =
      this.applyingBytes >= this.maxApplyingBytes || last.index < this.appliableIndex(allowUnstable);
  }

  /**
   * Marks entries up to `index`, of `bytes` bytes, as applied. With an index below the applied one only the bytes
   * count.
   */
  appliedTo(index: number, bytes: number): void {
    assert(index <= this.committedIndex, "applied beyond the commit index");
    this.appliedIndex = Math.max(this.appliedIndex, index);
    this.applyingIndex = Math.max(this.applyingIndex, this.appliedIndex);
    this.applyingBytes = Math.max(0, this.applyingBytes - bytes);
    this.applyingPaused = this.applyingBytes >= this.maxApplyingBytes;
  }

  /** The newest snapshot that is available for sending, or null. */
  snapshot(): Snapshot | null {
    const snapshot = this.unstable.snapshot ?? this.storage.snapshot();
    return snapshot === null || snapshot.meta.index === 0 ? null : snapshot;
  }

  /** Replaces the log by a received snapshot. */
  restore(snapshot: Snapshot): void {
    assert(snapshot.meta.index > this.committedIndex, "a snapshot behind the commit index");
    this.committedIndex = snapshot.meta.index;
    this.unstable.restore(snapshot);
  }
}

function limit(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  const count = countWithin(entries, maxBytes);
  return count === entries.length ? entries : entries.slice(0, count);
}
