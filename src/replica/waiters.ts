/**
 * The calls that wait for an entry of the log.
 *
 * A waiting call is keyed by the proposal id that its entry carries, and outlives a step-down: it is settled when its
 * entry is applied, or when another entry is applied at its index, which proves that it was not committed.
 */
import { RETRY, UNKNOWN, done } from "../base/outcome";
import type { Outcome } from "../base/outcome";

/** A proposal's end: the machine's result and the entry's index when it was committed and applied here. */
export interface Committed<Result = unknown> {
  readonly result: Result;
  readonly index: number;
}

/** "refused" never comes from here: whether to refuse is the state machine's, and part of its result. */
export type Settle<Result = unknown> = (outcome: Outcome<Committed<Result>>) => void;

interface Waiter {
  readonly proposalId: bigint;
  readonly index: number;
  readonly settle: Settle;
}

export class Waiters {
  private readonly byProposal = new Map<bigint, Waiter>();
  /** More than one at an index: this member led, lost its tail to another leader, and leads again. */
  private readonly byIndex = new Map<number, Waiter[]>();

  get size(): number {
    return this.byProposal.size;
  }

  /** Whether an entry of this proposal was appended and its outcome is open. */
  has(proposalId: bigint): boolean {
    return this.byProposal.has(proposalId);
  }

  /** The entry of this proposal was appended at `index`. */
  add(proposalId: bigint, index: number, settle: Settle): void {
    const waiter = { proposalId, index, settle };
    this.byProposal.set(proposalId, waiter);
    const others = this.byIndex.get(index);
    if (others === undefined) this.byIndex.set(index, [waiter]);
    else others.push(waiter);
  }

  /** The call gave up waiting; its entry may still be committed. */
  forget(proposalId: bigint): void {
    const waiter = this.byProposal.get(proposalId);
    if (waiter === undefined) return;
    this.byProposal.delete(proposalId);
    const rest = (this.byIndex.get(waiter.index) ?? []).filter((other) => other !== waiter);
    if (rest.length > 0) this.byIndex.set(waiter.index, rest);
    else this.byIndex.delete(waiter.index);
  }

  /** An entry was applied at `index`: that of `proposalId`, or one that no proposal can be waiting for (null). */
  applied(index: number, proposalId: bigint | null, result: unknown): void {
    const waiters = this.byIndex.get(index);
    if (waiters === undefined) return;
    this.byIndex.delete(index);
    for (const waiter of waiters) {
      this.byProposal.delete(waiter.proposalId);
      waiter.settle(waiter.proposalId === proposalId ? done({ result, index }) : RETRY);
    }
  }

  /** The state machines jumped to `index`: calls that waited at or below it won't see their entry applied. */
  installed(index: number): void {
    for (const waiter of [...this.byProposal.values()]) {
      if (waiter.index > index) continue;
      this.forget(waiter.proposalId);
      waiter.settle(UNKNOWN);
    }
  }

  /** The member stops: it will never learn what became of these. */
  abandonAll(): void {
    for (const waiter of [...this.byProposal.values()]) {
      this.forget(waiter.proposalId);
      waiter.settle(UNKNOWN);
    }
  }
}
