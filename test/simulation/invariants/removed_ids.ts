/** A removed id is never in a roster or a configuration at a later index. */
import type { ApplyResult, Roster } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside, RosterBefore } from "../observer";
import { Violation } from "../violation";

export class RemovedIds implements Observer {
  /** Log index of the removal of each id. */
  private readonly removed = new Map<bigint, number>();

  applied(
    member: Member,
    { index }: Entry,
    _result: ApplyResult,
    roster: Roster,
    { members }: RosterBefore,
  ): void {
    const now = roster.members();
    if (now === members) return;
    const ids = now.map(({ id }) => id);
    for (const { id } of members) {
      if (!ids.includes(id) && !this.removed.has(id)) this.removed.set(id, index);
    }
    for (const id of ids) {
      this.look(member, id, index, "roster");
      if (roster.tombstone(id) !== null)
        throw new Violation(
          "removed_ids",
          `${id.toString(16)} is in the roster of ${member.label} and removed`,
        );
    }
  }

  step(member: Member, raft: RaftInside, before: MemberState): void {
    const { replica } = member;
    const { applied } = replica;
    // A snapshot replaces the whole roster.
    if (applied > before.applied)
      for (const { id } of replica.roster.members()) this.look(member, id, applied, "roster");
    if (before.config === raft.tracker.config || raft.log.hasPendingSnapshot()) return;
    const { voters, learners } = raft.tracker.config.confState();
    for (const id of [...voters, ...learners]) this.look(member, id, applied, "configuration");
  }

  private look(member: Member, id: bigint, index: number, where: string): void {
    const removedAt = this.removed.get(id);
    if (removedAt === undefined || index < removedAt) return;
    throw new Violation(
      "removed_ids",
      `${id.toString(16)}, removed at ${removedAt}, is in the ${where} of ${member.label} at ${index}`,
    );
  }
}
