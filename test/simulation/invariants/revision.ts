/**
 * The revision never decreases along the log, and a change sets it to the index of its entry. On a member it decreases
 * only by a restart, and then equals the revision that the cluster had at that index.
 */
import type { ApplyResult, Roster } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";

export class Revision implements Observer {
  /** The revision at each log index. */
  private readonly revisions: number[] = [];

  applied(member: Member, { index }: Entry, result: ApplyResult, roster: Roster): void {
    const { revision } = roster;
    const decision = result.kind === "command" ? result.decision : null;
    const changed = decision?.accepted === true && decision.changed && !decision.repeated;
    const before = this.revisions[index - 1] ?? 0;
    if (revision < before || revision > index || (changed && revision !== index))
      throw new Violation(
        "revision",
        `${member.label} has revision ${revision} at ${index}, after ${before}`,
      );
    this.revisions[index] = revision;
  }

  step(member: Member, _raft: RaftInside, before: MemberState): void {
    const { revision } = member.replica.roster;
    if (revision < before.revision)
      throw new Violation(
        "revision",
        `${member.label} goes back from revision ${before.revision} to ${revision}`,
      );
  }
}
