/**
 * Which members the leader is in contact with, and since when, in ticks.
 *
 * In contact: from a member's first message of the leader's term until one election timeout without one. It decides
 * the strict reconfiguration check and what GetCluster says of a member.
 */
import type { NodeId } from "../raft/index";

interface Contact {
  sinceTick: number;
  lastTick: number;
  lastMs: number;
}

export class ContactTracker {
  private readonly contacts = new Map<NodeId, Contact>();

  constructor(private readonly electionTicks: number) {}

  /** A new term of leadership begins: no member was heard in it yet. */
  reset(): void {
    this.contacts.clear();
  }

  /** A message of this term came from `id`. */
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

  /** The clock's time of the last message of this term, in milliseconds; null when there was none. */
  lastHeardMs(id: NodeId): number | null {
    return this.contacts.get(id)?.lastMs ?? null;
  }
}
