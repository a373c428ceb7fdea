/**
 * Two logs that can't both be right: what the leader of this term sent differs from what this member holds at a place
 * where correct logs agree. No correct group gets there; the cause is a rolled-back or forged data directory, here or
 * there, or a faulty member. The core refuses such a message without an answer, and keeps the finding, so that the
 * application can stop this member.
 *
 * Raft paper, figure 3 (Log Matching, Leader Completeness). Pure.
 */
import type { RaftState } from "./state";
import type { ConfChange, Entry, NodeId } from "./types";

/** Where, and by whose message. */
export interface Contradiction {
  /** The sender, which leads the term in the view of this member. */
  readonly from: NodeId;
  readonly index: number;
  /** The term of this member's entry at `index`. */
  readonly ownTerm: number;
  /** The term of the sender's entry there. Equal to ownTerm: the same term, with other content. */
  readonly theirTerm: number;
  /** Whether this member knows the entry to be committed. */
  readonly committed: boolean;
}

/**
 * The first place at which an Append can't be of a correct leader of this term: a committed index with another term, or
 * any index with the same term and other content. Null when there is none in what this log still holds.
 */
export function findContradiction(
  r: RaftState,
  from: NodeId,
  prevIndex: number,
  prevTerm: number,
  entries: readonly Entry[],
): Contradiction | null {
  const { log } = r;
  if (prevIndex > log.lastIndex()) return null;
  const before = contradictionAt(r, from, prevIndex, prevTerm);
  if (before !== null || entries.length === 0) return before;
  const first = Math.max(prevIndex + 1, log.firstIndex());
  const last = Math.min(prevIndex + entries.length, log.lastIndex());
  if (first > last) return null;
  const held = log.slice(first, last + 1, Infinity);
  if (typeof held === "string") return null;
  for (const own of held) {
    const theirs = entries[own.index - prevIndex - 1];
    if (theirs === undefined) break;
    if (own.term !== theirs.term) {
      // Above the commit index the leader's entries replace these, and all that follow.
      return contradictionAt(r, from, own.index, theirs.term);
    }
    if (!sameContent(own, theirs)) return found(r, from, own.index, own.term, theirs.term);
  }
  return null;
}

/** Whether the entry at `index` is committed and has another term than `theirTerm`. */
export function contradictionAt(
  r: RaftState,
  from: NodeId,
  index: number,
  theirTerm: number,
): Contradiction | null {
  if (index > r.log.committed) return null;
  const own = r.log.term(index);
  if (typeof own !== "number" || own === theirTerm) return null;
  return found(r, from, index, own, theirTerm);
}

function found(r: RaftState, from: NodeId, index: number, ownTerm: number, theirTerm: number): Contradiction {
  return { from, index, ownTerm, theirTerm, committed: index <= r.log.committed };
}

/** Whether two entries of one index and term are the same, byte by byte. */
function sameContent(a: Entry, b: Entry): boolean {
  if (a === b) return true;
  return a.type === b.type && sameBytes(a.data, b.data) && sameChange(a.confChange, b.confChange);
}

function sameChange(a: ConfChange | null, b: ConfChange | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.transition === b.transition &&
    a.changes.length === b.changes.length &&
    a.changes.every((step, i) => step.type === b.changes[i]?.type && step.nodeId === b.changes[i].nodeId) &&
    sameBytes(a.context, b.context)
  );
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}
