/**
 * The active configuration: voters, learners, and the changes to make when a joint configuration is left.
 *
 * Invariant: learners and voters (incoming and outgoing) are disjoint; learnersNext is a subset of the outgoing voters
 * and empty unless joint; autoLeave is false unless joint. The confchange folder checks it at every change.
 */
import { formatIds, JointConfig } from "../quorum";
import type { ConfState, NodeId } from "../types";

/** Ids in ascending order. */
export function sortedIds(ids: Iterable<NodeId>): NodeId[] {
  return [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

export class TrackerConfig {
  constructor(
    readonly voters: JointConfig = new JointConfig(),
    /** Whether the leader leaves the joint configuration automatically. */
    public autoLeave = false,
    /** Members that receive the log and do not vote. */
    readonly learners: Set<NodeId> = new Set(),
    /**
     * Outgoing voters that become learners when the joint configuration is left; until then they vote in the outgoing
     * half, so they cannot be learners yet.
     */
    readonly learnersNext: Set<NodeId> = new Set(),
  ) {}

  clone(): TrackerConfig {
    return new TrackerConfig(
      this.voters.clone(),
      this.autoLeave,
      new Set(this.learners),
      new Set(this.learnersNext),
    );
  }

  confState(): ConfState {
    return {
      voters: this.voters.incoming.ids().slice(),
      learners: sortedIds(this.learners),
      votersOutgoing: this.voters.outgoing.ids().slice(),
      learnersNext: sortedIds(this.learnersNext),
      autoLeave: this.autoLeave,
    };
  }

  /** As the conformance scripts print it: "voters=(1 2)&&(1) learners=(3) learners_next=(4) autoleave". */
  toString(): string {
    let text = `voters=${this.voters.toString()}`;
    if (this.learners.size > 0) text += ` learners=${formatIds(sortedIds(this.learners))}`;
    if (this.learnersNext.size > 0) text += ` learners_next=${formatIds(sortedIds(this.learnersNext))}`;
    if (this.autoLeave) text += " autoleave";
    return text;
  }
}
