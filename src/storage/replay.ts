/**
 * Rebuilds the log from its records, in the order in which they were written. A record that contradicts the ones before
 * it is damage of its file, also when its checksums are right.
 */
import {
  EMPTY_HARD_STATE,
  NO_NODE,
  type Entry,
  type HardState,
  type Snapshot,
  type SnapshotMeta,
} from "../raft/index";
import { decodeEntry, decodeHardState, decodeSnapshotMark, type SnapshotMark } from "./entry_codec";
import { damaged, gap, hardStateBeyondLog } from "./errors";
import { RecordType, type RecordRead } from "./record";
import type { SegmentInfo } from "./segment_list";

type WholeRecord = Extract<RecordRead, { kind: "record" }>;

export class LogReplay {
  private entries: Entry[] = [];
  /** Last index while there are no entries: from the installed snapshot or from the head of the first segment. */
  private emptyLast = 0;
  private hardState: HardState = EMPTY_HARD_STATE;
  private installed: SnapshotMark | null = null;
  private mark: SnapshotMark | null = null;
  private begun = false;
  readonly segments: SegmentInfo[] = [];
  /** Size of the records after the newest snapshot mark, in bytes. */
  bytesSinceMark = 0;

  /** The last snapshot mark in the log, or null. */
  get newestMark(): SnapshotMark | null {
    return this.mark;
  }

  /** The hard state of the last record, not raised to match snapshots. */
  get writtenHardState(): HardState {
    return this.hardState;
  }

  /** Index of the first entry, or of the next one when there are no entries. */
  firstIndex(): number {
    return this.entries[0]?.index ?? this.emptyLast + 1;
  }

  lastIndex(): number {
    return this.entries.at(-1)?.index ?? this.emptyLast;
  }

  /** @throws DataDirError when the head contradicts the records before it */
  beginSegment(path: string, sequence: number, nextIndex: number, hardState: HardState): void {
    if (nextIndex < 1) throw damaged(path, 0, "its head has no next index");
    if (!this.begun) {
      this.begun = true;
      this.emptyLast = nextIndex - 1;
      this.hardState = hardState;
    } else {
      const { term, vote, commit } = this.hardState;
      const same = hardState.term === term && hardState.vote === vote && hardState.commit === commit;
      if (!same || nextIndex !== this.lastIndex() + 1) {
        throw damaged(path, 0, "its head does not fit the end of the segment before it");
      }
    }
    if (hardState.commit > nextIndex - 1) throw hardStateBeyondLog(path, 0, hardState.commit, nextIndex - 1);
    this.segments.push({ sequence, nextIndex });
  }

  /** @throws DataDirError or CodecError */
  record(path: string, record: WholeRecord): void {
    this.bytesSinceMark += record.end - record.start;
    switch (record.type) {
      case RecordType.Entry:
        this.entry(path, record.start, decodeEntry(record.payload));
        break;
      case RecordType.HardState:
        this.state(path, record.start, decodeHardState(record.payload));
        break;
      case RecordType.SnapshotMark:
        this.snapshotMark(path, record.start, decodeSnapshotMark(record.payload));
        break;
      case RecordType.SegmentHead:
        throw damaged(path, record.start, "a head inside a segment");
    }
  }

  /** Whether a snapshot at `meta` and the entries after it give the present state. */
  follows(meta: SnapshotMeta): boolean {
    if (meta.index < this.firstIndex() - 1 || meta.index > this.lastIndex()) return false;
    if (this.installed?.index === meta.index) return this.installed.term === meta.term;
    const term = this.termAt(meta.index);
    return term === null || term === meta.term;
  }

  /** Whether the log begins at index 1, so that no snapshot is needed. */
  startsAtBeginning(): boolean {
    return this.installed === null && this.firstIndex() === 1;
  }

  /** The entries and the index and term before the first one, in the form that LogView takes. */
  logAfter(snapshot: Snapshot | null): { base: { index: number; term: number }; entries: readonly Entry[] } {
    const before = this.firstIndex() - 1;
    if (before === 0) return { base: { index: 0, term: 0 }, entries: this.entries };
    if (this.installed?.index === before) return { base: this.installed, entries: this.entries };
    if (snapshot?.meta.index === before) return { base: snapshot.meta, entries: this.entries };
    // The term before the first entry is unknown: drop that entry, whose own term is known. The snapshot covers it.
    const [first, ...rest] = this.entries;
    if (first === undefined) return { base: { index: before, term: 0 }, entries: [] };
    return { base: first, entries: rest };
  }

  /**
   * The hard state after a restart. The stored commit index may be behind a snapshot, whose entries were all committed.
   * The term is at least the term of the last entry and of the snapshot: a member's term is never below its log's.
   */
  finalHardState(snapshot: Snapshot | null): HardState {
    const { term, vote, commit } = this.hardState;
    const reached = Math.max(this.entries.at(-1)?.term ?? 0, snapshot?.meta.term ?? 0, this.mark?.term ?? 0);
    const committed = Math.max(commit, snapshot?.meta.index ?? 0, this.mark?.index ?? 0);
    if (reached > term) return { term: reached, vote: NO_NODE, commit: committed };
    return { term, vote, commit: committed };
  }

  private termAt(index: number): number | null {
    return this.entries[index - this.firstIndex()]?.term ?? null;
  }

  private entry(path: string, at: number, entry: Entry): void {
    const last = this.lastIndex();
    if (entry.index > last + 1) throw gap(path, at, `entry ${entry.index} follows entry ${last}`);
    if (entry.index <= this.hardState.commit || entry.index <= (this.installed?.index ?? 0)) {
      throw damaged(path, at, `entry ${entry.index} would replace a committed one`);
    }
    const first = this.firstIndex();
    if (entry.index <= first) this.entries = [entry];
    else {
      this.entries.length = entry.index - first;
      this.entries.push(entry);
    }
  }

  private state(path: string, at: number, state: HardState): void {
    const { term, commit } = this.hardState;
    if (state.term < term || state.commit < commit) {
      throw damaged(path, at, `term ${state.term} and commit ${state.commit} after ${term} and ${commit}`);
    }
    if (state.commit > this.lastIndex()) throw hardStateBeyondLog(path, at, state.commit, this.lastIndex());
    this.hardState = state;
  }

  private snapshotMark(path: string, at: number, mark: SnapshotMark): void {
    if (mark.index < 1 || mark.index < (this.mark?.index ?? 0)) {
      throw damaged(path, at, `a snapshot at ${mark.index} after one at ${this.mark?.index ?? 0}`);
    }
    if (mark.installed) {
      if (mark.index < this.hardState.commit) {
        throw damaged(
          path,
          at,
          `a snapshot at ${mark.index} in place of entries committed up to ${this.hardState.commit}`,
        );
      }
      this.entries = [];
      this.emptyLast = mark.index;
      this.installed = mark;
      for (const segment of this.segments) segment.nextIndex = Math.min(segment.nextIndex, mark.index + 1);
    } else {
      if (mark.index > this.lastIndex()) {
        throw gap(path, at, `a snapshot at ${mark.index}, but the log ends at ${this.lastIndex()}`);
      }
      const term = this.termAt(mark.index);
      if (term !== null && term !== mark.term) {
        throw damaged(
          path,
          at,
          `a snapshot of term ${mark.term} at ${mark.index}, where the entry has term ${term}`,
        );
      }
    }
    this.mark = mark;
    this.bytesSinceMark = 0;
  }
}
