/**
 * A member grants at most one vote per term, across restarts. A candidate's vote for itself is recorded when it becomes
 * leader, because the vote does not count before it is durable. Raft paper, section 5.2.
 */
import { MessageType, Role } from "../../../src/raft/index";
import type { Message, NodeId } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";

export class OneVote implements Observer {
  /** The candidate that got the member's vote in each term, by machine and id. */
  private readonly votes = new Map<string, Map<number, NodeId>>();

  sent(member: Member, message: Message): void {
    if (message.type !== MessageType.VoteResponse || message.reject) return;
    this.vote(member, message.term, message.to);
  }

  step(member: Member, raft: RaftInside, before: MemberState): void {
    if (raft.role !== Role.Leader || (before.role === Role.Leader && before.term === raft.term)) return;
    // A leader has voted for itself, except one that did not know yet that it is a voter.
    if (raft.vote === raft.id) this.vote(member, raft.term, raft.id);
  }

  private vote(member: Member, term: number, candidate: NodeId): void {
    const { number, wiped, id } = member.host;
    if (wiped) return; // a new instance under an old id, which the cluster refuses or treats as new
    const key = `${number} ${id}`;
    const own = this.votes.get(key) ?? new Map<number, NodeId>();
    this.votes.set(key, own);
    const before = own.get(term);
    if (before !== undefined && before !== candidate) {
      const [a, b] = [before.toString(16), candidate.toString(16)];
      throw new Violation("one_vote", `${member.label} votes for ${a} and for ${b} in term ${term}`);
    }
    own.set(term, candidate);
  }
}
