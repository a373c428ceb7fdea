/**
 * State machine safety for the log: an entry is committed on a member only after a leader committed it, and every member
 * has the same committed entry at an index. A leader commits by counting replicas only for an entry of its own term.
 * Raft paper, figure 3 and section 5.4.2.
 */
import { Role } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import type { ClusterRecord } from "../record";
import { Violation } from "../violation";

const NAME = "commit_agreement";

export class CommitAgreement implements Observer {
  constructor(private readonly record: ClusterRecord) {}

  started(member: Member): void {
    const { committed } = member.replica;
    if (committed > this.record.committed)
      throw new Violation(NAME, `${member.label} starts with ${committed} committed, which no leader did`);
  }

  step(member: Member, raft: RaftInside, before: MemberState): void {
    const { log, term, role } = raft;
    if (log.committed === before.committed) return;
    if (log.committed < before.committed)
      throw new Violation(NAME, `${member.label} takes back its commit index ${before.committed}`);
    const counted = role === Role.Leader && before.role === Role.Leader && before.term === term;
    const lastTerm = counted ? log.term(log.committed) : term;
    if (typeof lastTerm === "number" && lastTerm !== term)
      throw new Violation(
        NAME,
        `${member.label} leads term ${term} and commits ${lastTerm}/${log.committed} by counting`,
      );
    // A leader may have stepped down in the same event.
    const led = role === Role.Leader || before.role === Role.Leader;
    const { record } = this;
    for (let index = before.committed + 1; index <= log.committed; index++) {
      const entryTerm = log.term(index);
      const known = record.terms[index];
      if (typeof entryTerm !== "number") continue;
      if (known === undefined) {
        if (!led)
          throw new Violation(
            NAME,
            `${member.label} takes ${entryTerm}/${index} as committed; no leader did`,
          );
        record.commit(index, entryTerm, role === Role.Leader ? term : before.term);
      } else if (known !== entryTerm) {
        throw new Violation(
          NAME,
          `${member.label} takes ${entryTerm}/${index} as committed, but ${known}/${index} is`,
        );
      }
    }
  }
}
