/**
 * Leader completeness: an entry that was committed in a term is in the log of every leader of a later term. Raft paper,
 * figure 3.
 */
import { Role } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import type { ClusterRecord } from "../record";
import { Violation } from "../violation";

export class LeaderCompleteness implements Observer {
  constructor(private readonly record: ClusterRecord) {}

  step(member: Member, { role, term, log }: RaftInside, before: MemberState): void {
    if (role !== Role.Leader || (before.role === Role.Leader && before.term === term)) return;
    const { record } = this;
    for (let index = Math.max(1, log.firstIndex() - 1); index <= record.committed; index++) {
      const committedTerm = record.terms[index];
      const committer = record.committers[index] ?? 0;
      if (committedTerm === undefined || committer >= term) continue;
      const own = index <= log.lastIndex() ? log.term(index) : "unavailable";
      if (own !== committedTerm && own !== "compacted") {
        const entry = `${committedTerm}/${index}`;
        throw new Violation(
          "leader_completeness",
          `${member.label} leads term ${term} without ${entry}, committed before`,
        );
      }
    }
  }
}
