/**
 * Acknowledged writes are never lost: the revision in the leader's answer is the index of a committed entry with the
 * request, and every member that applies that index applies that request.
 */
import type { ApplyResult } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { Violation } from "../violation";
import type { World } from "../world";

const NAME = "acknowledged_writes";

export class AcknowledgedWrites implements Observer {
  /** The request that was applied at each index, and whether it changed the roster. */
  private readonly applications = new Map<
    number,
    { readonly requestId: string; readonly changed: boolean }
  >();

  constructor(private readonly world: World) {}

  applied(_member: Member, { index }: Entry, result: ApplyResult): void {
    if (result.kind !== "command" || this.applications.has(index)) return;
    const { command, decision } = result;
    const changed = decision.accepted && decision.changed && !decision.repeated;
    this.applications.set(index, { requestId: command.requestId, changed });
  }

  acknowledged(member: Member, requestId: string, revision: number, appliedIndex: number): void {
    const at = this.applications.get(revision);
    const committed =
      revision <= this.world.checkers.record.committed || member.replica.committed >= revision;
    if (at?.requestId === requestId && at.changed && committed && revision <= appliedIndex) return;
    throw new Violation(
      NAME,
      `${member.label} acknowledges ${requestId} at ${revision}, where it was not applied`,
    );
  }
}
