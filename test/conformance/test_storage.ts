/**
 * The log of one scripted member, in memory: what is in here has reached the disk.
 *
 * Each applied entry leaves a snapshot behind, and the newest is what a leader sends; the base is the one that the log
 * starts from, all that survives a restart besides the log and the hard state.
 */
import { EMPTY_CONF_STATE, EMPTY_BYTES, EMPTY_HARD_STATE } from "../../src/raft/index";
import { countWithin } from "../../src/raft/index";
import type { ConfState, Entry, HardState, LogGap, LogReader, Snapshot } from "../../src/raft/index";

const NO_SNAPSHOT: Snapshot = { meta: { index: 0, term: 0, confState: EMPTY_CONF_STATE }, data: EMPTY_BYTES };

export class TestStorage implements LogReader {
  hardState: HardState = EMPTY_HARD_STATE;
  private base: Snapshot;
  private history: Snapshot[];
  private log: Entry[] = [];

  constructor(base: Snapshot = NO_SNAPSHOT) {
    this.base = base;
    this.history = [base];
  }

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: this.hardState, confState: this.base.meta.confState };
  }

  firstIndex(): number {
    return this.base.meta.index + 1;
  }

  lastIndex(): number {
    return this.base.meta.index + this.log.length;
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] | LogGap {
    if (lo < this.firstIndex()) return "compacted";
    if (hi > this.lastIndex() + 1) return "unavailable";
    const first = this.firstIndex();
    const all = this.log.slice(lo - first, hi - first);
    return all.slice(0, countWithin(all, maxBytes));
  }

  term(index: number): number | LogGap {
    if (index === this.base.meta.index) return this.base.meta.term;
    if (index < this.base.meta.index) return "compacted";
    return this.log[index - this.firstIndex()]?.term ?? "unavailable";
  }

  snapshot(): Snapshot {
    return this.history.at(-1) ?? this.base;
  }

  /** Every entry held, for printing. */
  all(): readonly Entry[] {
    return this.log;
  }

  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    const at = first.index - this.firstIndex();
    if (at < 0 || at > this.log.length) throw new Error(`append at ${first.index} leaves a gap`);
    this.log = [...this.log.slice(0, at), ...entries];
  }

  /** A snapshot from a leader. */
  install(snapshot: Snapshot): void {
    this.base = snapshot;
    this.history = [snapshot];
    this.log = [];
  }

  /** The state machine after one more entry. */
  applied(entry: Entry, update: Uint8Array, confState: ConfState | null): void {
    const before = this.snapshot();
    const data = new Uint8Array(before.data.length + update.length);
    data.set(before.data);
    data.set(update, before.data.length);
    const meta = { index: entry.index, term: entry.term, confState: confState ?? before.meta.confState };
    this.history.push({ meta, data });
  }

  /** Drops the log up to `index`, which must be applied. */
  compact(index: number): void {
    const snapshot = this.history.find((s) => s.meta.index === index);
    if (snapshot === undefined) throw new Error(`no snapshot at ${index}`);
    this.log = this.log.slice(index - this.base.meta.index);
    this.base = snapshot;
  }

  /** What is left after a crash: hard state, base and log. The state machine starts over from the base. */
  crash(): void {
    this.history = [this.base];
  }
}
