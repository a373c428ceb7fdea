/** Where the leader is, and how a call waits for one. */
import type { Call } from "../base/call";
import { NO_NODE } from "../raft/index";
import type { ReplicaView } from "../replica/view";
import { formatId, refused } from "../roster/index";
import type { RefusedError } from "../roster/index";

export class Routing {
  /** What ends the waits under way, for a member that stops. */
  private readonly waits = new Set<() => void>();
  private stopped = false;

  constructor(private readonly replica: ReplicaView) {}

  /** Every wait ends, and those that come end at once: a call may have to see yet that its member stops. */
  stop(): void {
    this.stopped = true;
    for (const end of [...this.waits]) end();
  }

  /** The peer URL of the member that leads; null when it is this one, or none is known. */
  leaderUrl(): string | null {
    const { leader, id, roster } = this.replica;
    if (leader === NO_NODE || leader === id) return null;
    return roster.member(leader)?.peerUrls[0] ?? null;
  }

  /**
   * Waits for the leadership to change, or for a tick: nothing else makes another attempt worth while. A tick may be
   * longer than what is left before the caller must have its answer, so the deadline ends the wait too.
   */
  changeOrTick(call: Call): Promise<void> {
    if (this.stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const { waits } = this;
      const undo: (() => void)[] = [];
      const end = (): void => {
        waits.delete(end);
        for (const act of undo) act();
        resolve();
      };
      waits.add(end);
      const timer = call.deadline.onPassed(end);
      undo.push(this.replica.listen({ onLeadership: end, onTick: end }), () => {
        timer.cancel();
      });
      // Last: it ends the wait at once when the caller has gone away already.
      undo.push(call.onCancel(end));
    });
  }

  /** What a member that does not lead answers to a caller that forbade forwarding. */
  notLeader(): RefusedError {
    const { leader, id, roster } = this.replica;
    if (leader === NO_NODE || leader === id) {
      return refused("NOT_LEADER", "this member does not lead, and knows no leader now; ask another member");
    }
    const member = roster.member(leader);
    const leaderId = formatId(leader);
    const text = `this member does not lead; ${member?.name ?? leaderId} (${leaderId}) does: ask it`;
    return refused("NOT_LEADER", text, {
      leader_id: leaderId,
      leader_admin_url: member?.adminUrls[0] ?? "",
      leader_peer_url: member?.peerUrls[0] ?? "",
    });
  }
}
