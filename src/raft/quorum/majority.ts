/**
 * A set of voters that decides by majority.
 *
 * Invariant: `ids()` is ascending and holds each voter once. The empty set is the neutral element of a joint
 * configuration: it commits everything and wins every vote.
 * Raft paper, sections 5.2 and 5.3. Pure.
 */
import type { NodeId } from "../types";

/** A log index, or MAX_INDEX. */
export type Index = number;

/** The committed index of a configuration without voters: no bound. */
export const MAX_INDEX: Index = Number.MAX_SAFE_INTEGER;

/** The result of an election so far. */
export enum VoteResult {
  /** Not decided: votes are missing. */
  Pending = 0,
  /** A majority can no longer be reached. */
  Lost = 1,
  Won = 2,
}

/** The size of a majority of `n` voters. */
export function majorityOf(n: number): number {
  return Math.floor(n / 2) + 1;
}

/** Ids as the conformance scripts print them: "(1 2 3)". */
export function formatIds(ids: readonly NodeId[]): string {
  return `(${ids.join(" ")})`;
}

export class MajorityConfig {
  /** Ascending. Groups have few voters, for which scanning an array is faster than a set. */
  private readonly sorted: NodeId[] = [];
  /** Working memory of committedIndex, so that a commit allocates nothing. */
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

  /** Ascending. Not a copy: it changes with the configuration. */
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
   * The highest index that a majority has acknowledged. A voter without an acknowledgement counts as 0. Inserts the
   * acknowledgements in ascending order; the result is the one at the size of a majority, counted from the end.
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

  /** The result of the election by these votes. A voter absent from `votes` may still vote either way. */
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
