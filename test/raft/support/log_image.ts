/**
 * One copy of a member's log: entries after an offset, hard state and newest snapshot, read as the core reads storage.
 * A simulated member has two: the log as handed to its disk, and the durable part that a crash leaves.
 */
import type { AppendBatch } from "../../../src/storage/storage";
import { entrySize } from "../../../src/raft/size";
import { EMPTY_CONF_STATE, EMPTY_HARD_STATE } from "../../../src/raft/types";
import type { ConfState, Entry, HardState, Snapshot } from "../../../src/raft/types";
import type { LogGap, LogReader } from "../../../src/raft/log_reader";

export class LogImage implements LogReader {
  hardState: HardState = EMPTY_HARD_STATE;
  newest: Snapshot | null = null;
  /** Index (and below term) of the last compacted entry. */
  private offset = 0;
  private offsetTerm = 0;
  private log: Entry[] = [];

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: this.hardState, confState: this.newest?.meta.confState ?? EMPTY_CONF_STATE };
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] | LogGap {
    if (lo <= this.offset) return "compacted";
    if (hi > this.lastIndex() + 1) return "unavailable";
    const from = lo - this.offset - 1;
    let to = from;
    let bytes = 0;
    for (; to < hi - this.offset - 1; to++) {
      const entry = this.log[to];
      if (entry === undefined) break;
      bytes += entrySize(entry);
      if (bytes > maxBytes && to > from) break;
    }
    return this.log.slice(from, to);
  }

  term(index: number): number | LogGap {
    if (index < this.offset) return "compacted";
    if (index === this.offset) return this.offsetTerm;
    return this.log[index - this.offset - 1]?.term ?? "unavailable";
  }

  /** The entry at `index`, or null when it is not held. */
  entry(index: number): Entry | null {
    return this.log[index - this.offset - 1] ?? null;
  }

  firstIndex(): number {
    return this.offset + 1;
  }

  lastIndex(): number {
    return this.offset + this.log.length;
  }

  snapshot(): Snapshot | null {
    return this.newest;
  }

  /** Writes one batch: hard state, then the snapshot, then the entries after it. */
  write(batch: AppendBatch): void {
    if (batch.hardState !== null) this.hardState = batch.hardState;
    if (batch.snapshot !== null) this.install(batch.snapshot);
    this.append(batch.entries);
  }

  /** Saves a snapshot of the member's own state machine, and drops entries up to `compactTo`. */
  saveSnapshot(snapshot: Snapshot, compactTo: number): void {
    if (snapshot.meta.index <= (this.newest?.meta.index ?? 0)) return;
    this.newest = snapshot;
    if (compactTo <= this.offset) return;
    const term = this.term(compactTo);
    if (typeof term !== "number") throw new Error(`compaction to ${compactTo}: ${term}`);
    this.log = this.log.slice(compactTo - this.offset);
    this.offset = compactTo;
    this.offsetTerm = term;
  }

  /** Drops the last entry, like a disk that confirms a sync without making it. */
  dropLast(): void {
    this.log.pop();
    this.hardState = { ...this.hardState, commit: Math.min(this.hardState.commit, this.lastIndex()) };
  }

  clone(): LogImage {
    const copy = new LogImage();
    copy.hardState = this.hardState;
    copy.newest = this.newest;
    copy.offset = this.offset;
    copy.offsetTerm = this.offsetTerm;
    copy.log = this.log.slice();
    return copy;
  }

  private install(snapshot: Snapshot): void {
    this.newest = snapshot;
    this.offset = snapshot.meta.index;
    this.offsetTerm = snapshot.meta.term;
    this.log = [];
  }

  private append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    if (first.index <= this.offset || first.index > this.lastIndex() + 1) {
      throw new Error(`append at ${first.index} to a log of [${this.firstIndex()}, ${this.lastIndex()}]`);
    }
    this.log.length = first.index - this.offset - 1;
    for (const entry of entries) this.log.push(entry);
  }
}
