/**
 * Election safety: at most one leader per term. A member that restarts counts as another one. Raft paper, figure 3.
 */
import { Role } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";

export class OneLeader implements Observer {
  private readonly leaders = new Map<number, Member>();

  step(member: Member, raft: RaftInside, before: MemberState): void {
    if (raft.role !== Role.Leader || (before.role === Role.Leader && before.term === raft.term)) return;
    const leader = this.leaders.get(raft.term);
    if (leader !== undefined && leader !== member)
      throw new Violation("one_leader", `${leader.label} and ${member.label} both lead term ${raft.term}`);
    this.leaders.set(raft.term, member);
  }
}
