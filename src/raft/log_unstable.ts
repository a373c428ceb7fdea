/**
 * The tail of the log that storage has not acknowledged, and a received snapshot on its way there.
 *
 * Invariants: `entries[i]` has index `offset + i`; entries below `inProgress` have been handed out to be written;
 * offset <= inProgress <= offset + entries.length. Entries leave only when storage acknowledges exactly them (index and
 * term), since an acknowledgement of entries that a new leader has meanwhile replaced says nothing about the new ones.
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

  /** The last index here, or 0 when there is neither an entry nor a snapshot. */
  lastIndex(): number {
    if (this.entries.length > 0) return this.offset + this.entries.length - 1;
    return this.pending === null ? 0 : this.pending.meta.index;
  }

  /** The term at `index`, or -1 when it is not known here. */
  term(index: number): number {
    if (index >= this.offset) return this.entries[index - this.offset]?.term ?? -1;
    if (this.pending !== null && this.pending.meta.index === index) return this.pending.meta.term;
    return -1;
  }

  /** Entries not handed out yet. A copy: the tail may be replaced while it is written. */
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

  /** Notes all that is here as handed out. */
  accept(): void {
    this.inProgress = this.offset + this.entries.length;
    if (this.pending !== null) this.snapshotInProgress = true;
  }

  /** Drops the entries that storage has: up to `index`, unless the entry there has another term by now. */
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

  /** Replaces everything by a snapshot. */
  restore(snapshot: Snapshot): void {
    this.offset = snapshot.meta.index + 1;
    this.inProgress = this.offset;
    this.entries = [];
    this.pending = snapshot;
    this.snapshotInProgress = false;
  }

  /** Appends entries, replacing what is at and after the first of them. */
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

  /** Entries in [lo, hi), all of which are here. */
  slice(lo: number, hi: number): Entry[] {
    assert(lo >= this.offset && hi <= this.offset + this.entries.length, "slice out of the unstable log");
    return this.entries.slice(lo - this.offset, hi - this.offset);
  }
}
