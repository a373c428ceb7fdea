/**
 * The tail of the log that storage has not acknowledged, and a received snapshot that it has not acknowledged either.
 *
 * Invariants: `entries[i]` has index `offset + i`; entries below `inProgress` have been handed out to be written;
 * offset <= inProgress <= offset + entries.length. An entry is removed only when storage acknowledges its index and
 * term: an acknowledgement of entries that a new leader has replaced meanwhile does not count for the new ones.
 */
import { assert } from "./assert";
import type { Entry, Snapshot } from "./types";

export class UnstableLog {
  private entries: Entry[] = [];
  private inProgress: number;
  private pending: Snapshot | null = null;
  private snapshotInProgress = false;

  /** @param offset index of the first entry that is not in storage */
  constructor(public offset: number) {
    this.inProgress = offset;
  }

  get length(): number {
    return this.entries.length;
  }

  /** The snapshot that storage has not acknowledged. */
  get snapshot(): Snapshot | null {
    return this.pending;
  }

  /** The last index of the entries or the snapshot, or 0 when there is neither. */
  lastIndex(): number {
    if (this.entries.length > 0) return this.offset + this.entries.length - 1;
    return this.pending === null ? 0 : this.pending.meta.index;
  }

  /** The term at `index`, or -1 when neither the entries nor the snapshot hold it. */
  term(index: number): number {
    if (index >= this.offset) return this.entries[index - this.offset]?.term ?? -1;
    if (this.pending !== null && this.pending.meta.index === index) return this.pending.meta.term;
    return -1;
  }

  /** A copy of the entries not handed out yet: the tail may be replaced while it is being written. */
  nextEntries(): readonly Entry[] {
    return this.entries.slice(this.inProgress - this.offset);
  }

  hasNextEntries(): boolean {
    return this.inProgress < this.offset + this.entries.length;
  }

  /** The snapshot, unless it has been handed out. */
  nextSnapshot(): Snapshot | null {
    return this.snapshotInProgress ? null : this.pending;
  }

  /** Marks the entries and the snapshot as handed out. */
  accept(): void {
    this.inProgress = this.offset + this.entries.length;
    if (this.pending !== null) this.snapshotInProgress = true;
  }

  /**
   * Removes the entries up to `index`, which storage has acknowledged, unless the entry there has another term by now.
   */
  stableTo(index: number, term: number): void {
    if (index < this.offset || this.term(index) !== term) return;
    const count = index + 1 - this.offset;
    if (count === this.entries.length) this.entries = [];
    else this.entries.splice(0, count);
    this.offset = index + 1;
    this.inProgress = Math.max(this.inProgress, this.offset);
  }

  stableSnapshotTo(index: number): void {
    if (this.pending === null || this.pending.meta.index !== index) return;
    this.pending = null;
    this.snapshotInProgress = false;
  }

  /** Replaces entries and snapshot by a received snapshot. */
  restore(snapshot: Snapshot): void {
    this.offset = snapshot.meta.index + 1;
    this.inProgress = this.offset;
    this.entries = [];
    this.pending = snapshot;
    this.snapshotInProgress = false;
  }

  /** Appends entries. Entries at and after the first of them are replaced. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    const end = this.offset + this.entries.length;
    assert(first.index <= end, "a gap in the unstable log");
    if (first.index <= this.offset) {
      this.entries = entries.slice();
      this.offset = first.index;
      this.inProgress = first.index;
      return;
    }
    this.entries.length = first.index - this.offset;
    this.inProgress = Math.min(this.inProgress, first.index);
    for (const entry of entries) this.entries.push(entry);
  }

  /** Entries in [lo, hi). All must be unstable. */
  slice(lo: number, hi: number): Entry[] {
    assert(lo >= this.offset && hi <= this.offset + this.entries.length, "slice out of the unstable log");
    return this.entries.slice(lo - this.offset, hi - this.offset);
  }
}
