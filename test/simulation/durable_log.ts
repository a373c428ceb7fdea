/**
 * A record of everything that a member's storage has acknowledged as durable: terms of entries, hard state, the newest
 * snapshot. The simulation keeps it across crashes, to compare it with the state that is recovered after one.
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

  /** The term of an entry; 0 when it is compacted, beyond the end or not known. */
  termAt(index: number): number {
    if (index === this.base) return this.baseTerm;
    return this.terms[index - this.base - 1] ?? 0;
  }

  /** The first index that the record has; a snapshot covers everything before it. */
  get firstKnown(): number {
    return this.base + 1;
  }

  /** Takes over the state that a start found on the disk and synced. */
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

  /** Whether the entry, or a snapshot that covers it, is durable. */
  holds(index: number, term: number): boolean {
    return index < this.base || this.termAt(index) === term;
  }

  /** @param lost called for each entry that the batch truncates */
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
