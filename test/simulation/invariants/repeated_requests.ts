/**
 * A repeated request takes effect only once, as long as its outcome is remembered.
 * docs/adr/0006-request-memory-is-replicated.md
 */
import { HISTORY_LIMIT } from "../../../src/roster/index";
import type { ApplyResult } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { Violation } from "../violation";
import type { World } from "../world";

export class RepeatedRequests implements Observer {
  /** Fewest later entries after which an outcome may be forgotten. */
  private readonly keptEntries: number;
  private readonly effects = new Map<string, number>();

  constructor({ profile }: World) {
    this.keptEntries = profile.memory.outcomesLimit ?? HISTORY_LIMIT;
  }

  applied(member: Member, { index }: Entry, result: ApplyResult): void {
    if (result.kind !== "command") return;
    const { command, decision } = result;
    if (command.requestId === "" || !decision.accepted || !decision.changed || decision.repeated) return;
    const before = this.effects.get(command.requestId);
    // An attempt that says since when outcomes must be known is not applied once one of them may be forgotten.
    const isKept = command.requestBase > 0 || Math.abs(index - (before ?? index)) < this.keptEntries;
    if (before !== undefined && before !== index && isKept) {
      const text = `${member.label} applies request ${command.requestId} at ${before} and at ${index}`;
      throw new Violation("repeated_requests", text);
    }
    this.effects.set(command.requestId, index);
  }
}
