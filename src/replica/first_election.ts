/**
 * The election of a member that has just started and knows no leader. Where nobody can be disturbed it need not wait for
 * an election timeout: the voter with the smallest id campaigns as soon as a majority can hear it. All voters agree on who
 * that is, so that votes are not split; when that one is away, the others campaign after their timeouts as always.
 *
 * PreVote makes it safe to try: voters that hear a leader do not answer. Pure.
 */
import { NO_NODE } from "../raft/index";
import type { NodeId, RaftStatus } from "../raft/index";

export class FirstElection {
  private readonly reached = new Set<NodeId>();
  private over = false;

  /** `id` accepted this member's stream. */
  reaches(id: NodeId): void {
    if (!this.over) this.reached.add(id);
  }

  /**
   * Whether to campaign now; true once. To be asked when a peer was reached or entries were applied, by a member that has
   * applied all that it knows to be committed: the core refuses to campaign before.
   */
  isDue(status: () => Pick<RaftStatus, "id" | "leader" | "confState">): boolean {
    if (this.over) return false;
    const { id, leader, confState } = status();
    const { voters, votersOutgoing } = confState;
    if (leader !== NO_NODE) {
      this.over = true;
      return false;
    }
    if (votersOutgoing.length > 0 || !voters.includes(id) || voters.some((other) => other < id)) return false;
    const heard = 1 + voters.filter((other) => other !== id && this.reached.has(other)).length;
    this.over = 2 * heard > voters.length;
    return this.over;
  }
}
