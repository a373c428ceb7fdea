/**
 * Keeps a removed member running until the cluster can do without its vote. A voter that has not learned that the
 * removal committed still counts votes by the old configuration, which may have no majority without this member (one or
 * two voters, or others that are down). If this member ended at once, that voter could never lead or learn again.
 *
 * It may end when so many voters of the new configuration are known to have applied the removal that each of its
 * quorums has one of them; or when no member has asked for a vote for a while, since some may never answer. Pure.
 * Why: docs/adr/0010-a-removed-member-stays-for-its-vote.md and docs/adr/0012-how-long-a-removed-member-stays.md.
 */
import { ConfChangeType, MessageType, newMessage } from "../raft/index";
import type { ConfChange, Message, NodeId } from "../raft/index";

/**
 * Election timeouts without a request for a vote, for a member that only heard of its removal: the voters that it lists
 * may be gone. A voter that needs its vote asks at least every second timeout.
 */
const QUIET_ELECTIONS_HEARSAY = 10;
/**
 * The same for a member that has applied its own removal: the voters that it lists are those of that very change, and one
 * that is away for minutes may still need its vote. An hour at an election timeout of one second.
 */
const QUIET_ELECTIONS = 3600;

/** Whether one of the changes removes `id`. */
export function removes(changes: readonly ConfChange[], id: NodeId): boolean {
  return changes.some((change) =>
    change.changes.some(({ type, nodeId }) => type === ConfChangeType.Remove && nodeId === id),
  );
}

export class Removal {
  private readonly knowing = new Set<NodeId>();

  /** @param lastAskedTick the present tick */
  constructor(
    private lastAskedTick: number,
    private readonly electionTicks: number,
  ) {}

  /** `id` has applied the removal, and will not forget it. */
  knows(id: NodeId): void {
    this.knowing.add(id);
  }

  /** Another member asked for this one's vote. */
  asked(tick: number): void {
    this.lastAskedTick = tick;
  }

  /**
   * Messages that ask the voters whether they know of the removal. They have no content, but a member that has applied it
   * refuses them, and so says that it knows.
   */
  questions(voters: readonly NodeId[], self: NodeId, term: number): Message[] {
    return this.waitsFor(voters).map((id) => newMessage(MessageType.HeartbeatResponse, id, self, term));
  }

  /** Of the voters, those that are not known to have applied the removal. */
  private waitsFor(voters: readonly NodeId[]): NodeId[] {
    return voters.filter((id) => !this.knowing.has(id));
  }

  /**
   * @param voters of the configuration, without this member
   * @param applied whether this member has applied its own removal; false: others said so
   */
  isOver(tick: number, voters: readonly NodeId[], applied: boolean): boolean {
    const open = this.waitsFor(voters).length;
    const quietTicks = this.electionTicks * (applied ? QUIET_ELECTIONS : QUIET_ELECTIONS_HEARSAY);
    return 2 * (voters.length - open) >= voters.length || tick - this.lastAskedTick >= quietTicks;
  }
}
