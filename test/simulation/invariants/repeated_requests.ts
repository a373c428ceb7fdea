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

export class RepeatedRequests implements Observer {
  private readonly effects = new Map<string, number>();

  applied(member: Member, { index }: Entry, result: ApplyResult): void {
    if (result.kind !== "command") return;
    const { command, decision } = result;
    if (command.requestId === "" || !decision.accepted || !decision.changed || decision.repeated) return;
    const before = this.effects.get(command.requestId);
    if (before !== undefined && before !== index && Math.abs(index - before) < HISTORY_LIMIT) {
      const text = `${member.label} applies request ${command.requestId} at ${before} and at ${index}`;
      throw new Violation("repeated_requests", text);
    }
    this.effects.set(command.requestId, index);
  }
}
