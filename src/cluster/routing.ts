/** Where the leader is, and how a call waits for one. */
import type { Call } from "../base/call";
import type { Clock } from "../base/clock";
import { NO_NODE } from "../raft/index";
import type { NodeId } from "../raft/index";
import type { ReplicaView } from "../replica/view";
import { formatId, refused } from "../roster/index";
import type { RefusedError } from "../roster/index";
import { SharedTimers } from "./shared_timers";

/** One call that waits. */
interface Wait {
  readonly end: () => void;
  /** Whether a tick ends it: an attempt failed on its way, and may succeed later. */
  readonly byTick: boolean;
}

export class Routing {
  /** Ended by one listener for all of them. */
  private readonly waits = new Set<Wait>();
  private readonly deadlines: SharedTimers;
  private stopped = false;

  /** @param peerUrl where a member is reached, null when it is not listed; by default what the roster says */
  constructor(
    private readonly replica: ReplicaView,
    clock: Clock,
    private readonly peerUrl: (id: NodeId) => string | null = (id) =>
      replica.roster.member(id)?.peerUrls[0] ?? null,
  ) {
    this.deadlines = new SharedTimers(clock);
    replica.listen({
      onLeadership: () => {
        this.wake(() => true);
      },
      onTick: () => {
        this.wake(({ byTick }) => byTick);
      },
      onApplied: () => {
        // The leader may have come into this member's roster.
        if (this.waits.size > 0 && this.hasWay) this.wake(() => true);
      },
    });
  }

  /** Every wait ends, and those that come end at once: a call may have to see yet that its member stops. */
  stop(): void {
    this.stopped = true;
    this.wake(() => true);
  }

  private wake(which: (wait: Wait) => boolean): void {
    if (this.waits.size === 0) return;
    for (const wait of [...this.waits]) if (which(wait)) wait.end();
  }

  /** Whether an attempt could be made now: here, or at the leader. */
  private get hasWay(): boolean {
    return this.replica.isLeader || this.leaderUrl() !== null;
  }

  /** The peer URL of the member that leads; null when it is this one, or none is known. */
  leaderUrl(): string | null {
    const { leader, id } = this.replica;
    return leader === NO_NODE || leader === id ? null : this.peerUrl(leader);
  }

  /**
   * Waits until another attempt is worth while: for the leadership to change, or for a tick where there was a leader to
   * ask. A tick may be longer than what is left before the caller must have its answer, so the deadline ends the wait too.
   */
  changeOrTick(call: Call): Promise<void> {
    if (this.stopped) return Promise.resolve();
    return new Promise((resolve) => {
      let forgetCaller = (): void => undefined;
      const end = (): void => {
        if (!this.waits.delete(wait)) return;
        forgetDeadline();
        forgetCaller();
        resolve();
      };
      const wait: Wait = { end, byTick: this.hasWay };
      this.waits.add(wait);
      const forgetDeadline = this.deadlines.after(call.deadline.remainingMs(), end);
      // Last: it ends the wait at once when the caller has gone away already.
      forgetCaller = call.onCancel(end);
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
