/**
 * A set of voters that decides by majority.
 *
 * Invariant: `ids()` is ascending and holds each voter once. The empty set is the neutral element of a joint
 * configuration: it commits everything and wins every vote.
 * Raft paper, sections 5.2 and 5.3. Pure.
 */
import type { NodeId } from "../types";

/** A log index as a quorum sees it. */
export type Index = number;

/** What a configuration without voters has committed: no bound at all. */
export const MAX_INDEX: Index = Number.MAX_SAFE_INTEGER;

/** How an election stands. */
export enum VoteResult {
  /** Open: the missing votes decide. */
  Pending = 0,
  /** A majority can no longer be reached. */
  Lost = 1,
  Won = 2,
}

/** The number of voters that decide among `n`. */
export function majorityOf(n: number): number {
  return Math.floor(n / 2) + 1;
}

/** Ids in the form of the suites: "(1 2 3)". */
export function formatIds(ids: readonly NodeId[]): string {
  return `(${ids.join(" ")})`;
}

export class MajorityConfig {
  /** Ascending. A group has a handful of voters: a scan of this array beats any set. */
  private readonly sorted: NodeId[] = [];
  /** Scratch of committedIndex, so that a commit allocates nothing. */
  private readonly acks: Index[] = [];

  constructor(ids: Iterable<NodeId> = []) {
    for (const id of ids) this.add(id);
  }

  get size(): number {
    return this.sorted.length;
  }

  has(id: NodeId): boolean {
    return this.sorted.includes(id);
  }

  /** Ascending. A view: it changes with the configuration. */
  ids(): readonly NodeId[] {
    return this.sorted;
  }

  add(id: NodeId): void {
    let at = this.sorted.length;
    for (let i = 0; i < this.sorted.length; i++) {
      const other = this.sorted[i];
      if (other === id) return;
      if (other !== undefined && other > id) {
        at = i;
        break;
      }
    }
    this.sorted.splice(at, 0, id);
  }

  delete(id: NodeId): void {
    const at = this.sorted.indexOf(id);
    if (at >= 0) this.sorted.splice(at, 1);
  }

  clone(): MajorityConfig {
    return new MajorityConfig(this.sorted);
  }

  /**
   * The highest index that a majority has acknowledged. A voter without an answer counts as 0. Acknowledgements are
   * kept in ascending order while they are read; the one that a majority has at least reached stands n/2+1 from the end.
   */
  committedIndex(acked: (id: NodeId) => Index | undefined): Index {
    const voters = this.sorted;
    const n = voters.length;
    if (n === 0) return MAX_INDEX;
    const acks = this.acks;
    acks.length = 0;
    for (const id of voters) {
      const ack = acked(id) ?? 0;
      let at = acks.length;
      acks.push(ack);
      for (; at > 0; at--) {
        const before = acks[at - 1] ?? 0;
        if (before <= ack) break;
        acks[at] = before;
      }
      acks[at] = ack;
    }
    return acks[n - majorityOf(n)] ?? 0;
  }

  /** How the election stands by these votes; a voter absent from `votes` may still vote either way. */
  voteResult(votes: ReadonlyMap<NodeId, boolean>): VoteResult {
    const n = this.sorted.length;
    if (n === 0) return VoteResult.Won;
    let granted = 0;
    let missing = 0;
    for (const id of this.sorted) {
      const vote = votes.get(id);
      if (vote === undefined) missing++;
      else if (vote) granted++;
    }
    const needed = majorityOf(n);
    if (granted >= needed) return VoteResult.Won;
    return granted + missing >= needed ? VoteResult.Pending : VoteResult.Lost;
  }

  toString(): string {
    return formatIds(this.sorted);
  }
}
