/** Outcomes in the order of first use, each with its position in the order of all outcomes. Pure. */
import type { RequestOutcome } from "../generated/muster/storage/v1/snapshot";

/** Dropped items are cut off the arrays once there are this many of them, so that each costs little. */
const CUT_MIN = 1024;

export class OutcomeQueue {
  private outcomes: (RequestOutcome | undefined)[] = [];
  private positions: number[] = [];
  /** Where the oldest is. */
  private head = 0;

  get length(): number {
    return this.outcomes.length - this.head;
  }

  get oldest(): RequestOutcome | undefined {
    return this.outcomes[this.head];
  }

  /** @param position larger than that of every outcome before */
  push(outcome: RequestOutcome, position: number): void {
    this.outcomes.push(outcome);
    this.positions.push(position);
  }

  shift(): RequestOutcome | undefined {
    const { oldest } = this;
    if (oldest === undefined) return undefined;
    this.outcomes[this.head++] = undefined;
    if (this.head >= CUT_MIN && this.head * 2 >= this.outcomes.length) {
      this.outcomes = this.outcomes.slice(this.head);
      this.positions = this.positions.slice(this.head);
      this.head = 0;
    }
    return oldest;
  }

  /** The outcomes of two queues, in the order of their positions. */
  static merge(a: OutcomeQueue, b: OutcomeQueue): RequestOutcome[] {
    const merged: RequestOutcome[] = [];
    let [i, j] = [a.head, b.head];
    for (let left = a.length + b.length; left > 0; left--) {
      const fromA = (a.positions[i] ?? Infinity) < (b.positions[j] ?? Infinity);
      const outcome = fromA ? a.outcomes[i++] : b.outcomes[j++];
      if (outcome !== undefined) merged.push(outcome);
    }
    return merged;
  }
}
