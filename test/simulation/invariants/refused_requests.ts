/** A write whose caller was told a refusal is never done afterwards, whenever an attempt of it arrives. */
import type { ApplyResult } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { Violation } from "../violation";
import type { World } from "../world";

export class RefusedRequests implements Observer {
  /** Highest index that was applied before: members apply the same entries again, and later. */
  private newest = 0;

  constructor(private readonly world: World) {}

  applied(member: Member, { index }: Entry, result: ApplyResult): void {
    if (index <= this.newest) return;
    this.newest = index;
    if (result.kind !== "command") return;
    const { command, decision } = result;
    if (!this.world.refused.has(command.requestId)) return;
    if (!decision.accepted || !decision.changed) return;
    const text = `${member.label} applies request ${command.requestId} at ${index} after it was refused`;
    throw new Violation("refused_requests", text);
  }
}
