/**
 * The stable log as the core reads it: synchronous, from memory. The storage layer implements it.
 */
import type { ConfState, Entry, HardState, Snapshot } from "./types";

/** Why a read of the log returned no entries. */
export type LogGap = "compacted" | "unavailable";

export interface LogReader {
  /**
   * The state to start from: the saved hard state, and the configuration at the index that the application starts from
   * (RaftConfig.applied; without it firstIndex() - 1). Called once.
   */
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };

  /**
   * Entries in [lo, hi), as many as fit into `maxBytes` (entrySize each) but at least one.
   * "compacted" when lo < firstIndex(); "unavailable" when hi > lastIndex() + 1.
   */
  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] | LogGap;

  /** Term of the entry at `index`; also known for firstIndex() - 1, the last compacted entry. */
  term(index: number): number | LogGap;

  /** Index of the first entry still held (snapshot index + 1 at least). */
  firstIndex(): number;

  /** Index of the last entry, or firstIndex() - 1 when there is none. */
  lastIndex(): number;

  /** The newest snapshot, or null while none is available (the core asks again later). */
  snapshot(): Snapshot | null;
}
