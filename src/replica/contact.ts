/**
 * Which members the leader is in contact with, and since when, in ticks; and when each member was last heard at all.
 *
 * In contact: from a member's first answer of the leader's term until one election timeout without one. Only answers to
 * what the leader sent count: contact must be both ways. A member whose own stream arrives while the leader can't reach
 * it (a wrong peer URL, a broken route) still sends requests, and would look alive now and then. It decides the strict
 * reconfiguration check and what GetCluster says of a member.
 */
import { MessageType } from "../raft/index";
import type { Message, NodeId } from "../raft/index";

/** Whether a follower sends this message only as an answer to the leader's append, snapshot or heartbeat. */
export function isAnswer({ type }: Message): boolean {
  return type === MessageType.AppendResponse || type === MessageType.HeartbeatResponse;
}

interface Contact {
  sinceTick: number;
  lastTick: number;
  lastMs: number;
}

export class ContactTracker {
  private readonly contacts = new Map<NodeId, Contact>();
  /** The clock's time at which anything last came from each member, whoever led. */
  private readonly received = new Map<NodeId, number>();

  constructor(private readonly electionTicks: number) {}

  /** A new term of leadership begins: no member was heard in it yet. */
  reset(): void {
    this.contacts.clear();
  }

  /** An answer of this term came from `id`. */
  heard(id: NodeId, tick: number, nowMs: number): void {
    const contact = this.contacts.get(id);
    if (contact === undefined) {
      this.contacts.set(id, { sinceTick: tick, lastTick: tick, lastMs: nowMs });
      return;
    }
    if (tick - contact.lastTick >= this.electionTicks) contact.sinceTick = tick;
    contact.lastTick = tick;
    contact.lastMs = nowMs;
  }

  /** For how many ticks `id` has been in contact without a break; null when it is not. */
  inContactTicks(id: NodeId, tick: number): number | null {
    const contact = this.contacts.get(id);
    if (contact === undefined || tick - contact.lastTick >= this.electionTicks) return null;
    return tick - contact.sinceTick;
  }

  /** Whether a message of this term came from `id` after `tick`. */
  heardAfter(id: NodeId, tick: number): boolean {
    return (this.contacts.get(id)?.lastTick ?? -1) > tick;
  }

  /** The clock's time of the last answer of this term, in milliseconds; null when there was none. */
  lastHeardMs(id: NodeId): number | null {
    return this.contacts.get(id)?.lastMs ?? null;
  }

  /** Anything came from `id` over its stream, in any role of this member. */
  receivedFrom(id: NodeId, nowMs: number): void {
    this.received.set(id, nowMs);
  }

  /** The clock's time at which anything last came from `id`, in milliseconds; null: nothing since this member started. */
  lastReceivedMs(id: NodeId): number | null {
    return this.received.get(id) ?? null;
  }

  /** Forgets when members were heard that are members no more. */
  retain(isMember: (id: NodeId) => boolean): void {
    for (const id of [...this.received.keys()]) if (!isMember(id)) this.received.delete(id);
  }
}
