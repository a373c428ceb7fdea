/**
 * Entries are decoded where they arrive: one that no member can ever apply would stop this member at its commit, at every
 * start again. Commands of a kind or version that this build does not know pass: a newer leader may send them, and apply
 * stops the member with a line that says so.
 */
import type { Log } from "../base/log";
import type { Entry, NodeId } from "../raft/index";
import { undecodableCommand } from "../roster/index";
import { unframeCommand } from "./frame";
import { MEMBERSHIP_MACHINE } from "./state_machine";

export class EntryCheck {
  /** Messages refused so far. */
  refused = 0;

  constructor(private readonly log: Log) {}

  /**
   * Whether all entries of a message may go to the core. The message is refused as a whole: its commit index counts on
   * all of its entries. Every refusal is counted; the first, second, fourth, ... is logged, since a leader repeats it.
   */
  takes(from: NodeId, entries: readonly Entry[]): boolean {
    for (const entry of entries) {
      const problem = problemOf(entry);
      if (problem === null) continue;
      this.refused++;
      if (Number.isInteger(Math.log2(this.refused))) {
        const fields = { from, index: entry.index, term: entry.term, problem, refused: this.refused };
        this.log.error(
          fields,
          "refused an entry that no member can apply: the leader's log is damaged, or it is no muster",
        );
      }
      return false;
    }
    return true;
  }
}

function problemOf({ data, confChange }: Entry): string | null {
  if (confChange !== null)
    return confChange.changes.length === 0 && confChange.context.length === 0
      ? null
      : undecodableCommand(confChange.context);
  if (data.length === 0) return null;
  try {
    const { machine, command } = unframeCommand(data);
    return machine === MEMBERSHIP_MACHINE ? undecodableCommand(command) : null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
