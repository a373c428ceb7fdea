/**
 * What the cluster as a whole has shown so far, known to nobody in it: entries by term and index, the committed log.
 */
import { crc32 } from "node:zlib";
import { EntryType } from "../../src/raft/index";
import type { ConfState, Entry, NodeId } from "../../src/raft/index";

/** Runs stay far below: term and index fit one number. */
const TERM_RANGE = 0x100_0000;

export function entryKey(term: number, index: number): number {
  return index * TERM_RANGE + term;
}

/** Tells contents apart. */
export function digestOf(entry: Entry): number {
  const { confChange, data, type } = entry;
  const bytes = confChange === null ? data : confChange.context;
  // zlib answers differently for empty arrays, by how they were made.
  const digest = bytes.length === 0 ? type : crc32(bytes, type);
  return confChange === null ? digest : (Math.imul(digest, 31) + confChange.changes.length) >>> 0;
}

/** Without voters (the outgoing half of a configuration that is not joint): true. */
export function isMajority(voters: readonly NodeId[], holds: (id: NodeId) => boolean): boolean {
  return voters.length === 0 || voters.filter(holds).length > voters.length / 2;
}

export class ClusterRecord {
  /** The highest index that a leader has committed. */
  committed = 0;
  /** By index: term of the committed entry. */
  readonly terms: number[] = [0];
  /** By index: the term of the leader that committed it. */
  readonly committers: number[] = [0];
  /** By entryKey: digest of every entry that was ever in a log. */
  readonly entries = new Map<number, number>();
  /** By entryKey: term of the entry before. */
  readonly previousTerms = new Map<number, number>();
  /** Keys of membership changes. */
  readonly confChanges = new Set<number>();
  /** The newest configuration that any member has applied. */
  config: ConfState | null = null;
  private configIndex = -1;

  add(entry: Entry): void {
    if (entry.type !== EntryType.Normal) this.confChanges.add(entryKey(entry.term, entry.index));
  }

  commit(index: number, term: number, byTerm: number): void {
    this.terms[index] = term;
    this.committers[index] = byTerm;
    if (index > this.committed) this.committed = index;
  }

  /** @param applied what the member that has this configuration has applied */
  configure(applied: number, config: ConfState): void {
    if (applied < this.configIndex) return;
    this.configIndex = applied;
    this.config = config;
  }

  /** Of the committed entry. */
  digestAt(index: number): number | undefined {
    return this.entries.get(entryKey(this.terms[index] ?? 0, index));
  }
}
