/**
 * The last changes of the roster, in order, so that a watch can resume. Part of the replicated state.
 *
 * Invariants: revisions never go down; the replacement of a member has two events at one revision. Whether a watch can
 * resume from a revision depends on the kept events alone, so that a restored history answers like the original. Pure.
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
   * The smallest revision that `since` can answer for: every later change is kept. 0 while nothing was dropped. A full
   * history counts as having dropped an event of its oldest revision.
   */
  get oldestRevision(): number {
    return this.ring.isFull ? (this.ring.at(0)?.revision ?? 0) : 0;
  }

  /** Every event after `revision`, oldest first; null when some of them have been dropped. */
  since(revision: number): RosterEvent[] | null {
    if (revision < this.oldestRevision) return null;
    return this.ring.from(this.positionAfter(revision));
  }

  /**
   * The events of the first revision after `revision`; empty when there is none. Events before it may have been dropped:
   * see oldestRevision.
   */
  stepAfter(revision: number): RosterEvent[] {
    const step: RosterEvent[] = [];
    for (let at = this.positionAfter(revision); ; at++) {
      const event = at < this.ring.length ? this.ring.at(at) : undefined;
      if (event === undefined || event.revision !== (step[0]?.revision ?? event.revision)) return step;
      step.push(event);
    }
  }

  /** The position of the first event after `revision`. */
  private positionAfter(revision: number): number {
    let low = 0;
    let high = this.ring.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.ring.at(middle)?.revision ?? Infinity) > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Every event kept, oldest first. */
  all(): RosterEvent[] {
    return this.ring.from(0);
  }
}
