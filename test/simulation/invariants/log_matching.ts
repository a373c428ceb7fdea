/**
 * Log matching: two entries with the same index and term are equal, and so are the entries before them. Raft paper,
 * figure 3.
 *
 * Compares only entries that are being appended with the record, which has every entry that any log ever had.
 */
import type { Entry } from "../../../src/raft/index";
import type { AppendBatch } from "../../../src/storage/storage";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { digestOf, entryKey } from "../record";
import type { ClusterRecord } from "../record";
import { Violation } from "../violation";

const NAME = "log_matching";

export class LogMatching implements Observer {
  constructor(private readonly record: ClusterRecord) {}

  made(member: Member, entries: readonly Entry[]): void {
    let previous = 0;
    for (const entry of entries) {
      this.look(member, entry, previous);
      previous = entry.term;
      this.record.commit(entry.index, entry.term, 0);
    }
  }

  appended(member: Member, { entries, snapshot }: AppendBatch): void {
    const first = entries[0];
    if (first === undefined) return;
    // In a batch with a snapshot, the first entry follows the last entry of the snapshot.
    const before =
      snapshot !== null && snapshot.meta.index === first.index - 1
        ? snapshot.meta.term
        : member.storage.term(first.index - 1);
    let previous = typeof before === "number" ? before : 0;
    for (const entry of entries) {
      this.look(member, entry, previous);
      previous = entry.term;
    }
  }

  private look(member: Member, entry: Entry, previousTerm: number): void {
    const key = entryKey(entry.term, entry.index);
    const digest = digestOf(entry);
    const { entries, previousTerms } = this.record;
    const known = entries.get(key);
    if (known === undefined) {
      if (entry.term < previousTerm)
        throw new Violation(NAME, `in the log of ${member.label} the term falls at index ${entry.index}`);
      entries.set(key, digest);
      previousTerms.set(key, previousTerm);
      this.record.add(entry);
    } else if (known !== digest || previousTerms.get(key) !== previousTerm) {
      const at = `${entry.term}/${entry.index}`;
      throw new Violation(
        NAME,
        `${member.label} holds another entry at ${at}, after term ${previousTerm}, than the one known there`,
      );
    }
  }
}
