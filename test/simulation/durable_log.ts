/**
 * What one member's storage has acknowledged as durable, kept by the simulation beside it: terms of entries, hard
 * state, the newest snapshot. It survives crashes, so that what comes back after one can be held against it.
 */
import type { LogReader } from "../../src/raft/index";
import type { AppendBatch } from "../../src/storage/storage";

export class DurableLog {
  term = 0;
  vote = 0n;
  /** Entries up to here are covered by a snapshot or were dropped. */
  private base = 0;
  private baseTerm = 0;
  private terms: number[] = [];

  get lastIndex(): number {
    return this.base + this.terms.length;
  }

  /** 0: not known, compacted or beyond the end. */
  termAt(index: number): number {
    if (index === this.base) return this.baseTerm;
    return this.terms[index - this.base - 1] ?? 0;
  }

  /** Everything before this index is covered. */
  get firstKnown(): number {
    return this.base + 1;
  }

  /** What was found on the disk, and synced, at a start. */
  restart(log: LogReader, { term, vote }: { readonly term: number; readonly vote: bigint }): void {
    this.term = term;
    this.vote = vote;
    this.base = log.firstIndex() - 1;
    const baseTerm = log.term(this.base);
    this.baseTerm = typeof baseTerm === "number" ? baseTerm : 0;
    this.terms = [];
    for (let index = this.base + 1; index <= log.lastIndex(); index++) {
      const at = log.term(index);
      this.terms.push(typeof at === "number" ? at : 0);
    }
  }

  /** Whether the entry, or a snapshot that covers it, is there. */
  holds(index: number, term: number): boolean {
    return index < this.base || this.termAt(index) === term;
  }

  /** @param lost told of each entry that is cut off */
  apply(batch: AppendBatch, lost: (index: number, term: number) => void): void {
    const { hardState, snapshot, entries } = batch;
    if (hardState !== null) {
      this.term = hardState.term;
      this.vote = hardState.vote;
    }
    if (snapshot !== null) {
      const { index, term } = snapshot.meta;
      for (let i = index + 1; i <= this.lastIndex; i++) lost(i, this.termAt(i));
      this.base = index;
      this.baseTerm = term;
      this.terms = [];
    }
    const first = entries[0];
    if (first === undefined) return;
    for (let i = first.index; i <= this.lastIndex; i++) {
      if (i - first.index >= entries.length || entries[i - first.index]?.term !== this.termAt(i))
        lost(i, this.termAt(i));
    }
    this.terms.length = Math.max(0, first.index - this.base - 1);
    for (const entry of entries) this.terms.push(entry.term);
  }
}
