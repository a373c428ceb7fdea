/**
 * Acknowledged writes are never lost: the revision that the leader answers names a committed entry that carries the
 * request, and every member that applies that index applies that request.
 */
import type { ApplyResult } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { Observer } from "../observer";
import type { WriteOperation } from "../operations";
import { Violation } from "../violation";
import type { World } from "../world";

const NAME = "acknowledged_writes";

export class AcknowledgedWrites implements Observer {
  /** By index: the request that was applied there, and whether it changed the roster. */
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

  acknowledged(member: Member, operation: WriteOperation, revision: number, appliedIndex: number): void {
    if (operation.validateOnly) return;
    const { requestId } = operation;
    const at = this.applications.get(revision);
    const committed = revision <= this.world.checkers.record.committed || member.node.committed >= revision;
    if (at?.requestId === requestId && at.changed && committed && revision <= appliedIndex) return;
    throw new Violation(
      NAME,
      `${member.label} acknowledges ${requestId} at ${revision}, where it was not applied`,
    );
  }
}
