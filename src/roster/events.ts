/**
 * The last changes of the roster, in order: what a watch resumes from. Part of the replicated state.
 *
 * Invariants: revisions never go down; one revision has two events when a member was replaced. Whether a revision can
 * still be resumed from follows from the events kept, so that a restored history answers as the original one. Pure.
 */
import type { RosterEvent } from "../generated/muster/storage/v1/snapshot";
import { Ring } from "./ring";

export class EventHistory {
  private readonly ring: Ring<RosterEvent>;

  /** @param limit how many events are kept; equal on every member */
  constructor(limit: number) {
    this.ring = new Ring(limit);
  }

  append(event: RosterEvent): void {
    this.ring.push(event);
  }

  /**
   * The smallest revision that `since` still answers: every later change is kept. 0 while nothing was dropped. A full
   * history counts as having dropped events of its oldest revision.
   */
  get oldestRevision(): number {
    return this.ring.isFull ? (this.ring.at(0)?.revision ?? 0) : 0;
  }

  /** Every event after `revision`, oldest first; null when some of them are not kept any more. */
  since(revision: number): RosterEvent[] | null {
    if (revision < this.oldestRevision) return null;
    let low = 0;
    let high = this.ring.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.ring.at(middle)?.revision ?? Infinity) > revision) high = middle;
      else low = middle + 1;
    }
    return this.ring.from(low);
  }

  /** Every event kept, oldest first. */
  all(): RosterEvent[] {
    return this.ring.from(0);
  }
}
