/**
 * One vote in a term, across restarts: an answer that grants a vote names one candidate of the term, whoever the process
 * is. A candidate's vote for itself counts once it leads: until its vote is durable it has none. Raft paper, section 5.2.
 */
import { MessageType, Role } from "../../../src/raft/index";
import type { Message, NodeId } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";

export class OneVote implements Observer {
  /** Per machine: candidate by term. */
  private readonly votes = new Map<number, Map<number, NodeId>>();

  sent(member: Member, message: Message): void {
    if (message.type !== MessageType.VoteResponse || message.reject) return;
    this.vote(member, message.term, message.to);
  }

  step(member: Member, raft: RaftInside, before: MemberState): void {
    if (raft.role !== Role.Leader || (before.role === Role.Leader && before.term === raft.term)) return;
    // One who leads was voted for by itself, unless it only voted as a learner that does not know of its promotion.
    if (raft.vote === raft.id) this.vote(member, raft.term, raft.id);
  }

  private vote(member: Member, term: number, candidate: NodeId): void {
    const { number, wiped } = member.host;
    if (wiped) return; // another member under an old id: it is refused, or counts as new
    const own = this.votes.get(number) ?? new Map<number, NodeId>();
    this.votes.set(number, own);
    const before = own.get(term);
    if (before !== undefined && before !== candidate) {
      const [a, b] = [before.toString(16), candidate.toString(16)];
      throw new Violation("one_vote", `${member.label} votes for ${a} and for ${b} in term ${term}`);
    }
    own.set(term, candidate);
  }
}
