/**
 * The calls that wait for an entry of the log.
 *
 * A waiting call is keyed by the proposal id that its entry carries, and outlives a step-down: it is settled when its
 * entry is applied, or when another entry is applied at its index, which proves that it was not committed.
 */
import type { Decision } from "../roster/index";

/** What became of a proposal. */
export type ProposalOutcome =
  /** Committed and applied here, at this index. */
  | { readonly kind: "applied"; readonly decision: Decision; readonly index: number }
  /** Another entry was committed in its place: it will never be applied, and may be proposed again. */
  | { readonly kind: "not-committed" }
  /** It never reached the log: this member does not lead, or stopped leading before its turn. */
  | { readonly kind: "not-leader" }
  /** Nobody here will see its entry applied (a snapshot passed it, or the member stops): it may be committed or not. */
  | { readonly kind: "unknown" };

export type Settle = (outcome: ProposalOutcome) => void;

interface Waiter {
  readonly proposalId: bigint;
  readonly requestId: string;
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

  /** Whether an entry of this proposal was appended and its fate is open. */
  has(proposalId: bigint): boolean {
    return this.byProposal.has(proposalId);
  }

  /** The entry of this proposal was appended at `index`. */
  add(proposalId: bigint, requestId: string, index: number, settle: Settle): void {
    const waiter = { proposalId, requestId, index, settle };
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

  /** An entry was applied at `index`: that of `proposalId`, or one without a command (null). */
  applied(index: number, proposalId: bigint | null, decision: Decision | null): void {
    const waiters = this.byIndex.get(index);
    if (waiters === undefined) return;
    this.byIndex.delete(index);
    for (const waiter of waiters) {
      this.byProposal.delete(waiter.proposalId);
      if (waiter.proposalId === proposalId && decision !== null) {
        waiter.settle({ kind: "applied", decision, index });
      } else {
        waiter.settle({ kind: "not-committed" });
      }
    }
  }

  /** The state machine jumped to `index`: whoever waited at or below it won't see its entry applied. */
  installed(index: number): void {
    for (const waiter of [...this.byProposal.values()]) {
      if (waiter.index > index) continue;
      this.forget(waiter.proposalId);
      waiter.settle({ kind: "unknown" });
    }
  }

  /** The member stops: nobody will be told any more what became of these. */
  abandonAll(): void {
    for (const waiter of [...this.byProposal.values()]) {
      this.forget(waiter.proposalId);
      waiter.settle({ kind: "unknown" });
    }
  }
}
