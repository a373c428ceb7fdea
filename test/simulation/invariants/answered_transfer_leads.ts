/**
 * A transfer of leadership to a named member that was answered with success was done: that member has led since the call
 * began.
 */
import { Role } from "../../../src/raft/index";
import type { NodeId } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";
import type { World } from "../world";

export class AnsweredTransferLeads implements Observer {
  /** Virtual time at which each member was last seen to lead, in microseconds. */
  private readonly led = new Map<NodeId, number>();

  constructor(private readonly world: World) {}

  step(_member: Member, raft: RaftInside, before: MemberState): void {
    if (raft.role === Role.Leader || before.role === Role.Leader)
      this.led.set(raft.id, this.world.scheduler.nowUs);
  }

  /** @throws Violation */
  answered(id: NodeId, begunUs: number): void {
    const { hosts, profile } = this.world;
    if (hosts.some(({ running }) => running?.replica.id === id && running.replica.isLeader)) return;
    // Seen only with the messages that it got: a leader that hears nobody leads on for an election timeout.
    const unseenUs = 2 * profile.electionMs * 1000;
    if ((this.led.get(id) ?? -Infinity) + unseenUs >= begunUs) return;
    const text = `a transfer to ${id.toString(16)} was answered, but it has not led since the call began`;
    throw new Violation("answered_transfer_leads", text);
  }
}
