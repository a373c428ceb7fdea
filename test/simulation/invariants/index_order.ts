/** On every member applied <= committed <= last, and applied and committed never decrease except by a restart. */
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";

export class IndexOrder implements Observer {
  started(member: Member): void {
    const { applied, committed, lastIndex } = member.replica;
    this.look(member, applied, committed, lastIndex);
  }

  step(member: Member, { log }: RaftInside, before: MemberState): void {
    const { applied } = member.replica;
    this.look(member, applied, log.committed, log.lastIndex());
    this.look(member, log.applied, log.committed, log.lastIndex());
    if (applied < before.applied)
      throw new Violation(
        "index_order",
        `${member.label} goes back from ${before.applied} applied to ${applied}`,
      );
  }

  private look(member: Member, applied: number, committed: number, last: number): void {
    if (applied <= committed && committed <= last) return;
    throw new Violation(
      "index_order",
      `${member.label}: applied ${applied}, committed ${committed}, last ${last}`,
    );
  }
}
