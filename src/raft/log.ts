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

/** Where two logs may agree: an index, and the term there (0 when it is not known). */
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
  /** Bytes handed out to be applied and not acknowledged. */
  private applyingBytes = 0;
  /** No more entries are handed out until some are acknowledged: the byte limit was reached. */
  private applyingPaused = false;

  /** @param maxApplyingBytes most bytes of committed entries handed out at a time; positive */
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

  /** Term at `index`; known from the entry before the first one up to the last. */
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

  /** Whether a log that ends with (term, index) holds at least what this one holds. Raft paper, section 5.4.1. */
  isUpToDate(term: number, index: number): boolean {
    const lastTerm = this.lastTerm();
    return term > lastTerm || (term === lastTerm && index >= this.lastIndex());
  }

  /**
   * Appends what a leader sent: `entries` follow the entry (prevTerm, prevIndex), and are consecutive.
   * @returns the last index that now equals the leader's, or -1 when the logs differ at prevIndex
   */
  tryAppend(prevIndex: number, prevTerm: number, entries: readonly Entry[], leaderCommit: number): number {
    if (!this.matchTerm(prevIndex, prevTerm)) return -1;
    const lastNew = prevIndex + entries.length;
    const fresh = this.countKnown(entries);
    if (fresh < entries.length) this.append(fresh === 0 ? entries : entries.slice(fresh));
    this.commitTo(Math.min(leaderCommit, lastNew));
    return lastNew;
  }

  /** How many of `entries`, from the first on, are in this log with the same term. */
  private countKnown(entries: readonly Entry[]): number {
    let count = 0;
    for (const entry of entries) {
      if (!this.matchTerm(entry.index, entry.term)) break;
      count++;
    }
    return count;
  }

  /** Appends entries, replacing uncommitted ones at and after the first of them. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    assert(first.index > this.committedIndex, "committed entries would be replaced");
    this.unstable.truncateAndAppend(entries);
  }

  /**
   * The last index at or below `index` whose term is at most `term`: no later index can agree with a log that has
   * `term` at `index`. The term is 0 where this log no longer knows it, which may be a match.
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

  /** As commitTo, for a leader: only where the entry is of `term`. Raft paper, section 5.4.2. */
  maybeCommit(index: number, term: number): boolean {
    if (index <= this.committedIndex || !this.matchTerm(index, term)) return false;
    this.commitTo(index);
    return true;
  }

  /** Entries from `lo` to the end, as many as fit, at least one; or the reason why not. */
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
    const room = maxBytes === Infinity ? Infinity : maxBytes - entriesSize(stable);
    const tail = unstable.slice(unstable.offset, hi);
    const fitting = countWithin(tail, room);
    // countWithin lets the first one through in any case; here there is a first one already.
    const first = tail[0];
    if (fitting === 1 && first !== undefined && entriesSize([first]) > room) return stable;
    return [...stable, ...(fitting === tail.length ? tail : tail.slice(0, fitting))];
  }

  /** Entries to be written that have not been handed out. */
  nextUnstableEntries(): readonly Entry[] {
    return this.unstable.hasNextEntries() ? this.unstable.nextEntries() : NO_ENTRIES;
  }

  hasNextUnstableEntries(): boolean {
    return this.unstable.hasNextEntries();
  }

  /** Whether storage still owes the acknowledgement of entries. */
  hasUnstableEntries(): boolean {
    return this.unstable.length > 0;
  }

  nextUnstableSnapshot(): Snapshot | null {
    return this.unstable.nextSnapshot();
  }

  /** Whether a received snapshot is not in storage yet. Nothing is applied meanwhile. */
  hasPendingSnapshot(): boolean {
    return this.unstable.snapshot !== null;
  }

  /** Notes the unstable entries and the snapshot as handed out. */
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
   * @param allowUnstable whether entries that storage has not acknowledged count (they are written before applying)
   */
  nextCommittedEntries(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommittedEntries(allowUnstable)) return NO_ENTRIES;
    const room = this.maxApplyingBytes - this.applyingBytes;
    assert(room > 0, "entries handed out beyond the limit");
    const entries = this.slice(this.applyingIndex + 1, this.appliableIndex(allowUnstable) + 1, room);
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

  /** Notes `entries` as handed out to be applied. */
  acceptApplying(entries: readonly Entry[], allowUnstable: boolean): void {
    const last = entries.at(-1);
    if (last === undefined) return;
    this.applyingIndex = last.index;
    this.applyingBytes += entriesSize(entries);
    // What did not fit now waits until some of this is acknowledged, also when a smaller entry would still fit.
    this.applyingPaused =
      this.applyingBytes >= this.maxApplyingBytes || last.index < this.appliableIndex(allowUnstable);
  }

  /** Notes entries up to `index`, of `bytes` bytes, as applied. An index below the applied one only frees the bytes. */
  appliedTo(index: number, bytes: number): void {
    assert(index <= this.committedIndex, "applied beyond the commit index");
    this.appliedIndex = Math.max(this.appliedIndex, index);
    this.applyingIndex = Math.max(this.applyingIndex, this.appliedIndex);
    this.applyingBytes = Math.max(0, this.applyingBytes - bytes);
    this.applyingPaused = this.applyingBytes >= this.maxApplyingBytes;
  }

  /** The newest snapshot that can be sent, or null. */
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
