/**
 * A global record of the cluster, which no member has: every entry by term and index, and the committed log.
 */
import { crc32 } from "node:zlib";
import { EntryType } from "../../src/raft/index";
import type { ConfState, Entry, NodeId } from "../../src/raft/index";

/** Larger than any index in a run, so that term and index can be combined into one number. */
const TERM_RANGE = 0x100_0000;

export function entryKey(term: number, index: number): number {
  return index * TERM_RANGE + term;
}

/** A checksum that distinguishes entries with different contents. */
export function digestOf(entry: Entry): number {
  const { confChange, data, type } = entry;
  const bytes = confChange === null ? data : confChange.context;
  // zlib's result for an empty array depends on how the array was created.
  const digest = bytes.length === 0 ? type : crc32(bytes, type);
  return confChange === null ? digest : (Math.imul(digest, 31) + confChange.changes.length) >>> 0;
}

/** True without voters, as in the outgoing half of a configuration that is not joint. */
export function isMajority(voters: readonly NodeId[], holds: (id: NodeId) => boolean): boolean {
  return voters.length === 0 || voters.filter(holds).length > voters.length / 2;
}

export class ClusterRecord {
  /** The highest index that a leader has committed. */
  committed = 0;
  /** The term of the committed entry at each index. */
  readonly terms: number[] = [0];
  /** The term of the leader that committed the entry at each index. */
  readonly committers: number[] = [0];
  /** The digest of every entry that was ever in a log, by entryKey. */
  readonly entries = new Map<number, number>();
  /** The term of the entry before, by entryKey. */
  readonly previousTerms = new Map<number, number>();
  /** The entryKeys of membership changes. */
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

  /** @param applied the applied index of the member that has this configuration */
  configure(applied: number, config: ConfState): void {
    if (applied < this.configIndex) return;
    this.configIndex = applied;
    this.config = config;
  }

  /** Whether the newest configuration that any member has applied lists the id. */
  lists(id: NodeId): boolean {
    if (this.config === null) return false;
    const { voters, learners, votersOutgoing, learnersNext } = this.config;
    return [voters, learners, votersOutgoing, learnersNext].some((ids) => ids.includes(id));
  }

  /** The digest of the committed entry at an index. */
  digestAt(index: number): number | undefined {
    return this.entries.get(entryKey(this.terms[index] ?? 0, index));
  }
}
