/**
 * The log in memory: answers the reads of LogReader.
 *
 * Invariants: the entries are consecutive; the first one has index base + 1; base <= snapshot index when there is a
 * snapshot; the term of `base` is known.
 */
import type { Entry, LogGap, Snapshot } from "../raft/index";
import { invariant } from "./errors";

/** Estimated size of an entry's term, index, type and framing. The same as in the core. */
const ENTRY_OVERHEAD_BYTES = 24;
/** Estimated size of one change of a configuration. */
const CHANGE_BYTES = 12;

/** Size of an entry for the limit of a read: the same estimate as in the core. Unit: bytes. */
function countedBytes(entry: Entry): number {
  const change = entry.confChange;
  const payload = change === null ? 0 : change.context.length + change.changes.length * CHANGE_BYTES;
  return ENTRY_OVERHEAD_BYTES + entry.data.length + payload;
}

export class LogView {
  /** The entries from index base + 1 on. */
  private held: Entry[];
  /** Index of the entry before the first one held. */
  private base: number;
  private baseTerm: number;
  private newest: Snapshot | null;

  /** @param base index and term of the entry before the first one held; 0 and 0 for a log from the beginning */
  constructor(base: { index: number; term: number }, entries: readonly Entry[], snapshot: Snapshot | null) {
    this.base = base.index;
    this.baseTerm = base.term;
    this.held = entries.slice();
    this.newest = snapshot;
  }

  firstIndex(): number {
    return this.base + 1;
  }

  lastIndex(): number {
    return this.base + this.held.length;
  }

  snapshot(): Snapshot | null {
    return this.newest;
  }

  /** 0 without a snapshot. */
  snapshotIndex(): number {
    return this.newest?.meta.index ?? 0;
  }

  term(index: number): number | LogGap {
    if (index < this.base) return "compacted";
    if (index === this.base) return this.baseTerm;
    return this.held[index - this.base - 1]?.term ?? "unavailable";
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] | LogGap {
    if (lo <= this.base) return "compacted";
    if (hi > this.lastIndex() + 1) return "unavailable";
    const from = lo - this.base - 1;
    const to = Math.max(from, hi - this.base - 1);
    let end = from;
    let bytes = 0;
    while (end < to) {
      const entry = this.held[end];
      if (entry === undefined) break;
      bytes += countedBytes(entry);
      if (end > from && bytes > maxBytes) break;
      end++;
    }
    return this.held.slice(from, end);
  }

  /** Appends consecutive entries. Entries from the first new index on are replaced. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    invariant(first.index > this.base, `append at ${first.index}, which is compacted (up to ${this.base})`);
    invariant(
      first.index <= this.lastIndex() + 1,
      `append at ${first.index} leaves a gap after ${this.lastIndex()}`,
    );
    let expected = first.index;
    for (const entry of entries) {
      invariant(
        entry.index === expected,
        `entries are not consecutive: ${entry.index} in place of ${expected}`,
      );
      expected++;
    }
    this.held.length = first.index - this.base - 1;
    for (const entry of entries) this.held.push(entry);
  }

  /** Replaces the whole log by a snapshot that was received from the leader. */
  install(snapshot: Snapshot): void {
    this.held = [];
    this.base = snapshot.meta.index;
    this.baseTerm = snapshot.meta.term;
    this.newest = snapshot;
  }

  /** Takes a snapshot of this member as the newest one; entries are kept. Ignored unless newer than the present one. */
  offer(snapshot: Snapshot): void {
    if (snapshot.meta.index > this.snapshotIndex()) this.newest = snapshot;
  }

  /** Drops entries up to `index`, but none after the snapshot. */
  compact(index: number): void {
    const upTo = Math.min(index, this.snapshotIndex(), this.lastIndex());
    if (upTo <= this.base) return;
    const term = this.term(upTo);
    invariant(typeof term === "number", `no term at ${upTo}`);
    this.held = this.held.slice(upTo - this.base);
    this.base = upTo;
    this.baseTerm = term;
  }
}
