/**
 * The log in memory: what LogReader shows. Shared by the durable and the in-memory storage.
 *
 * Invariants: entries are consecutive; entries[0].index = base + 1; base <= snapshot index when there is a snapshot;
 * the term of `base` is known. All of it is changed only through the methods below.
 */
import type { Entry, LogGap, Snapshot } from "../raft/index";
import { invariant } from "./errors";

/** Term, index, type and framing of one entry, as the core counts them. */
const ENTRY_OVERHEAD_BYTES = 24;
const CHANGE_BYTES = 12;

/** What an entry counts for in the limits of reads: the same estimate as the core's. */
function countedBytes(entry: Entry): number {
  const change = entry.confChange;
  const payload = change === null ? 0 : change.context.length + change.changes.length * CHANGE_BYTES;
  return ENTRY_OVERHEAD_BYTES + entry.data.length + payload;
}

export class LogView {
  private held: Entry[];
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

  /** Adds consecutive entries after cutting what they overwrite. */
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

  /** A snapshot from a leader takes the place of the whole log up to its index, and of everything behind it. */
  install(snapshot: Snapshot): void {
    this.held = [];
    this.base = snapshot.meta.index;
    this.baseTerm = snapshot.meta.term;
    this.newest = snapshot;
  }

  /** A snapshot taken here; entries stay. An older one than the newest changes nothing. */
  offer(snapshot: Snapshot): void {
    if (snapshot.meta.index > this.snapshotIndex()) this.newest = snapshot;
  }

  /** Forgets entries up to `index`, which a snapshot must cover. */
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
