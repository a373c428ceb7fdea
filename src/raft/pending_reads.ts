/**
 * Linearizable reads that wait for proof that this leader still leads.
 *
 * Reads are grouped in rounds, numbered from 1 in each leadership: those that arrive between two Readys share a round,
 * and a follower's answer to round n also confirms every earlier one. The number, not the reader's context, travels
 * with the heartbeats, so that a context used twice cannot be confirmed by an old answer.
 * Raft thesis, section 6.4.
 */
import { MAX_INDEX } from "./quorum";
import type { JointConfig } from "./quorum";
import type { NodeId } from "./types";

/** Limit of reads that wait on one leader. A node that batches its callers' reads stays far below. */
const MAX_WAITING_READS = 65_536;

interface WaitingRead {
  /** The member that asked: this one, or a follower, which gets the answer by message. */
  readonly from: NodeId;
  readonly context: bigint;
  /** The commit index when the read arrived. The reader waits until it is applied. */
  readonly index: number;
  readonly round: number;
}

/** A read that arrived before the leader had committed an entry of its own term. */
interface EarlyRead {
  readonly from: NodeId;
  readonly context: bigint;
}

export class PendingReads {
  /** The last round that was started. */
  private started = 0;
  private roundWanted = false;
  /** In the order of their rounds. */
  private waiting: WaitingRead[] = [];
  private early: EarlyRead[] = [];
  private readonly acknowledged = new Map<NodeId, number>();

  /** @param self counts as always confirming */
  constructor(private readonly self: NodeId) {}

  get full(): boolean {
    return this.waiting.length + this.early.length >= MAX_WAITING_READS;
  }

  /** Whether reads wait for a round that has not been started. */
  get wantsRound(): boolean {
    return this.roundWanted;
  }

  /** The round that heartbeats should carry, or 0 when no read waits. */
  get currentRound(): number {
    return this.waiting.length > 0 ? this.started : 0;
  }

  addEarly(from: NodeId, context: bigint): void {
    this.early.push({ from, context });
  }

  /** Removes and returns the reads that waited for the term's first commit. */
  takeEarly(): readonly EarlyRead[] {
    const reads = this.early;
    if (reads.length > 0) this.early = [];
    return reads;
  }

  add(from: NodeId, context: bigint, index: number): void {
    this.waiting.push({ from, context, index, round: this.started + 1 });
    this.roundWanted = true;
  }

  /** Starts a round for the reads that arrived since the last one. */
  startRound(): void {
    this.started++;
    this.roundWanted = false;
  }

  /** Notes that `from` answered a heartbeat of `round`. False when no such round was started. */
  acknowledge(from: NodeId, round: number): boolean {
    if (round > this.started) return false;
    if (round > (this.acknowledged.get(from) ?? 0)) this.acknowledged.set(from, round);
    return true;
  }

  /** Removes and returns the reads whose round a quorum has confirmed. */
  takeConfirmed(voters: JointConfig): readonly WaitingRead[] {
    if (this.waiting.length === 0) return [];
    const confirmed = voters.committedIndex((id) =>
      id === this.self ? MAX_INDEX : (this.acknowledged.get(id) ?? 0),
    );
    let count = 0;
    for (const read of this.waiting) {
      if (read.round > confirmed) break;
      count++;
    }
    return count === 0 ? [] : this.waiting.splice(0, count);
  }

  /** Drops all reads, as this member starts a new term or no longer leads. */
  clear(): void {
    this.started = 0;
    this.roundWanted = false;
    this.waiting = [];
    this.early = [];
    this.acknowledged.clear();
  }
}
