/** An id that was removed is never again in a roster or in a configuration at a later index. SPEC, "Removed members". */
import type { ApplyResult, Roster } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";

export class RemovedIds implements Observer {
  /** Index of each removal. */
  private readonly removed = new Map<bigint, number>();
  private readonly present = new WeakMap<Member, readonly bigint[]>();

  applied(member: Member, { index }: Entry, _result: ApplyResult, roster: Roster): void {
    const before = this.present.get(member);
    const now = roster.members();
    if (before?.length === now.length && now.every((m, i) => m.id === before[i])) return;
    const ids = now.map(({ id }) => id);
    for (const id of before ?? []) {
      if (!ids.includes(id) && !this.removed.has(id)) this.removed.set(id, index);
    }
    for (const id of ids) this.look(member, id, index, "roster");
    this.present.set(member, ids);
  }

  step(member: Member, raft: RaftInside, before: MemberState): void {
    const { node } = member;
    const { applied } = node;
    // A snapshot brings a whole roster.
    if (applied > before.applied)
      for (const { id } of node.roster.members()) this.look(member, id, applied, "roster");
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
