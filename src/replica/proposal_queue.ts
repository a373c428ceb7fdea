/**
 * Proposals that have not been appended: those of one turn go into the log together.
 *
 * Invariant: each is handed to the waiters once it is appended, or settled as not appended; never both.
 */
import { RETRY } from "../base/outcome";
import type { ProposeResult } from "../raft/index";
import type { Settle, Waiters } from "./waiters";

/** A command on its way into the log. */
export interface Proposal {
  /** Unique on this member; the command carries it. */
  readonly id: bigint;
  /** The bytes of the entry. */
  readonly data: Uint8Array;
  /** Called once, unless the proposal is withdrawn or forgotten. */
  readonly settle: Settle;
}

export class ProposalQueue {
  private queued: Proposal[] = [];

  constructor(private readonly waiters: Waiters) {}

  get size(): number {
    return this.queued.length;
  }

  add(proposal: Proposal): void {
    this.queued.push(proposal);
  }

  /** Takes back a proposal. False: it is not here any more. */
  withdraw(id: bigint): boolean {
    const at = this.queued.findIndex((proposal) => proposal.id === id);
    if (at < 0) return false;
    this.queued.splice(at, 1);
    return true;
  }

  /** Appends all of them. @param propose gives the core one entry for each */
  appendAll(propose: (entries: readonly Uint8Array[]) => ProposeResult): void {
    if (this.queued.length === 0) return;
    const queued = this.queued;
    this.queued = [];
    const result = propose(queued.map(({ data }) => data));
    if (result.ok) {
      queued.forEach(({ id, settle }, i) => {
        this.waiters.add(id, result.index + i, settle);
      });
    } else if (result.reason === "uncommitted-size" || result.reason === "transferring") {
      this.queued = queued; // appended once entries are committed, or the transfer has ended
    } else {
      for (const { settle } of queued) settle(RETRY);
    }
  }

  /** This member does not lead, or stops: none of them will be appended here. */
  refuseAll(): void {
    const queued = this.queued;
    this.queued = [];
    for (const { settle } of queued) settle(RETRY);
  }
}
