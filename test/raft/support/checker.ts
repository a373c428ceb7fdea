/**
 * The safety properties of Raft (paper, figure 3) over a whole group, checked after every event.
 *
 * Each check compares only the state that the event changed with the states seen before: entries by index and term,
 * committed entries and applied states by index. By induction over the log that is equivalent to comparing all logs
 * each time.
 */
import { EntryType } from "../../../src/raft/types";
import type { ConfState, Entry, NodeId } from "../../../src/raft/types";

/** A safety property does not hold. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** A state machine: its applied index, a digest of all applied entries, and the configuration at that index. */
export interface MachineState {
  index: number;
  digest: number;
  confState: ConfState;
  /** `confState` as text, computed once per change. */
  confText: string;
}

/** Above all terms of a run, so that index and term fit one number. */
const TERM_RANGE = 0x1_0000_0000;

interface KnownEntry {
  readonly payload: number;
  readonly previousTerm: number;
}

/** Identifies an entry: each proposal and each change of a run carries a unique number. */
export function payloadOf(entry: Entry): number {
  const bytes = entry.confChange === null ? entry.data : entry.confChange.context;
  const [a = 0, b = 0, c = 0, d = 0] = bytes;
  return ((a << 24) | (b << 16) | (c << 8) | d) + entry.type * TERM_RANGE + bytes.length * 4 * TERM_RANGE;
}

/** The state after one more entry. */
export function digestAfter(digest: number, entry: Entry): number {
  let h = Math.imul(digest ^ entry.term, 0x9e37_79b1) ^ (payloadOf(entry) | 0);
  h = Math.imul(h ^ (h >>> 15), 0x85eb_ca6b) ^ entry.index;
  return h ^ (h >>> 13);
}

export function formatConfState(state: ConfState): string {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = state;
  return `${voters.join()}|${votersOutgoing.join()}|${learners.join()}|${learnersNext.join()}|${String(autoLeave)}`;
}

export class SafetyChecker {
  /** Highest index that any leader has committed. */
  committed = 0;
  /** Numbers of elected leaders and applied states, to show that a run made progress. */
  elections = 0;
  applications = 0;
  /** Leader by term: id and incarnation. */
  private readonly leaders = new Map<number, string>();
  private readonly known = new Map<number, KnownEntry>();
  /** By index: the committed entry's term, and the term of the leader that committed it. */
  private readonly committedTerms: number[] = [];
  private readonly committers: number[] = [];
  private readonly digests: number[] = [];
  private readonly confStates: string[] = [];

  /** Election safety: at most one leader per term. A restarted member counts as another one. */
  leads(id: NodeId, incarnation: number, term: number): void {
    const name = `${id}/${incarnation}`;
    const leader = this.leaders.get(term);
    if (leader === name) return;
    if (leader !== undefined) throw new Violation(`election safety: ${leader} and ${name} lead term ${term}`);
    this.leaders.set(term, name);
    this.elections++;
  }

  /** Log matching: index and term determine the entry and the entry before it. */
  appends(id: NodeId, entry: Entry, previousTerm: number): void {
    const key = entry.index * TERM_RANGE + entry.term;
    const known = this.known.get(key);
    const payload = payloadOf(entry);
    if (known === undefined) {
      if (entry.term < previousTerm) throw new Violation(`log of ${id}: term falls at ${entry.index}`);
      this.known.set(key, { payload, previousTerm });
    } else if (known.payload !== payload || known.previousTerm !== previousTerm) {
      throw new Violation(`log matching: ${id} holds another entry at ${entry.term}/${entry.index}`);
    }
  }

  /** Leader completeness: entries committed in earlier terms are in the log of every later leader. */
  completeness(id: NodeId, term: number, lastIndex: number, termAt: (index: number) => number | null): void {
    for (let index = 1; index <= this.committed; index++) {
      const committer = this.committers[index];
      if (committer === undefined || committer >= term) continue;
      const own = index <= lastIndex ? termAt(index) : -1;
      if (own !== null && own !== this.committedTerms[index]) {
        throw new Violation(
          `leader completeness: leader ${id} of term ${term} lacks committed entry ${index}`,
        );
      }
    }
  }

  /** A leader of `term` commits the entry at `index`: no other entry was committed there before. */
  commits(id: NodeId, term: number, index: number, entryTerm: number): void {
    const before = this.committedTerms[index];
    if (before === undefined) {
      this.committedTerms[index] = entryTerm;
      this.committers[index] = term;
      if (index > this.committed) this.committed = index;
    } else if (before !== entryTerm) {
      throw new Violation(
        `leader ${id} commits ${entryTerm}/${index}, committed before as ${before}/${index}`,
      );
    }
  }

  /** A follower learns that the entry at `index` is committed: a leader has committed the same entry before. */
  learns(id: NodeId, index: number, entryTerm: number): void {
    if (this.committedTerms[index] !== entryTerm) {
      throw new Violation(`${id} takes ${entryTerm}/${index} as committed; no leader did`);
    }
  }

  /** The state in which members start, which no leader has committed. */
  bootstraps(state: MachineState, term: number): void {
    this.digests[state.index] = state.digest;
    this.confStates[state.index] = state.confText;
    this.committedTerms[state.index] = term;
    this.committers[state.index] = 0;
    this.committed = Math.max(this.committed, state.index);
  }

  /** State machine safety: all members reach the same state at the same index, by entries or by a snapshot. */
  applies(id: NodeId, state: MachineState): void {
    this.applications++;
    const digest = this.digests[state.index];
    if (digest === undefined) {
      this.digests[state.index] = state.digest;
      this.confStates[state.index] = state.confText;
    } else if (digest !== state.digest) {
      throw new Violation(`state machine safety: ${id} differs at index ${state.index}`);
    } else if (this.confStates[state.index] !== state.confText) {
      throw new Violation(`configuration of ${id} differs at index ${state.index}: ${state.confText}`);
    }
  }

  /** At most one configuration change is neither committed nor replaced, in any log. */
  confChanges(id: NodeId, indexes: readonly number[], committed: number): void {
    const before = indexes.at(-2);
    if (before !== undefined && before > committed) {
      throw new Violation(
        `log of ${id} holds changes ${before} and ${String(indexes.at(-1))} above ${committed}`,
      );
    }
  }

  /** A linearizable read sees every entry that was committed before the read was requested. */
  reads(id: NodeId, floor: number, index: number): void {
    if (index < floor) throw new Violation(`stale read at ${id}: index ${index}, but ${floor} was committed`);
  }
}

/** Whether an entry changes the configuration. */
export function isConfChange(entry: Entry): boolean {
  return entry.type !== EntryType.Normal;
}
