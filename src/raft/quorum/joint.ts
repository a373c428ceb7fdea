/**
 * Joint quorum: two sets of voters of which both must agree, while a configuration change is under way. With an empty
 * outgoing set it is a plain majority, so that the core always works with a joint quorum.
 *
 * Raft paper, section 6 (joint consensus). Pure.
 */
import type { NodeId } from "../types";
import { MajorityConfig, VoteResult } from "./majority";
import type { Index } from "./majority";

export class JointConfig {
  /**
   * @param incoming the voters after the change (the only ones when no change is under way)
   * @param outgoing the voters before it; empty unless joint
   */
  constructor(
    readonly incoming: MajorityConfig = new MajorityConfig(),
    readonly outgoing: MajorityConfig = new MajorityConfig(),
  ) {}

  get isJoint(): boolean {
    return this.outgoing.size > 0;
  }

  /** Whether `id` votes in either set. */
  has(id: NodeId): boolean {
    return this.incoming.has(id) || this.outgoing.has(id);
  }

  /** The voters of both sets, ascending, each once. */
  ids(): readonly NodeId[] {
    if (!this.isJoint) return this.incoming.ids();
    const union = this.incoming.clone();
    for (const id of this.outgoing.ids()) union.add(id);
    return union.ids();
  }

  /** The highest index that both sets have committed. */
  committedIndex(acked: (id: NodeId) => Index | undefined): Index {
    return Math.min(this.incoming.committedIndex(acked), this.outgoing.committedIndex(acked));
  }

  /** Won when it is won in both sets, lost as soon as it is lost in one. */
  voteResult(votes: ReadonlyMap<NodeId, boolean>): VoteResult {
    const incoming = this.incoming.voteResult(votes);
    const outgoing = this.outgoing.voteResult(votes);
    if (incoming === outgoing) return incoming;
    if (incoming === VoteResult.Lost || outgoing === VoteResult.Lost) return VoteResult.Lost;
    return VoteResult.Pending;
  }

  clone(): JointConfig {
    return new JointConfig(this.incoming.clone(), this.outgoing.clone());
  }

  toString(): string {
    return this.isJoint
      ? `${this.incoming.toString()}&&${this.outgoing.toString()}`
      : this.incoming.toString();
  }
}
