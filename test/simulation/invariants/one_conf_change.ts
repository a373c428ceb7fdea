/**
 * A log has at most one membership change above the cluster's commit index, because the next one is proposed only after
 * the one before is applied. Raft paper, section 6; Ongaro's correction of 2015.
 */
import type { AppendBatch } from "../../../src/storage/storage";
import { EntryType } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { entryKey } from "../record";
import type { ClusterRecord } from "../record";
import { Violation } from "../violation";

export class OneConfChange implements Observer {
  /** Members that appended a membership change in this event. */
  private readonly due = new Set<Member>();

  constructor(private readonly record: ClusterRecord) {}

  appended(member: Member, { entries }: AppendBatch): void {
    if (entries.some(({ type }) => type !== EntryType.Normal)) this.due.add(member);
  }

  /** Checked after the event, when it is known which entries the leader committed in it. */
  step(member: Member, { log }: RaftInside, _before: MemberState): void {
    if (!this.due.delete(member)) return;
    const { record } = this;
    const found: number[] = [];
    for (let index = record.committed + 1; index <= log.lastIndex(); index++) {
      const term = log.term(index);
      if (typeof term === "number" && record.confChanges.has(entryKey(term, index))) found.push(index);
    }
    if (found.length > 1) {
      const at = found.join(" and ");
      throw new Violation("one_conf_change", `the log of ${member.label} holds uncommitted changes at ${at}`);
    }
  }
}
