/**
 * How long to wait before the next attempt to reach a peer: doubling from 100 ms to 1 s, with the upper half of each
 * step drawn by chance, so that the members of a cluster that lost one do not dial it in step.
 */
import type { RandomSource } from "../raft/index";

export const BACKOFF_MIN_MS = 100;
export const BACKOFF_MAX_MS = 1000;

export class Backoff {
  #failures = 0;

  constructor(private readonly random: RandomSource) {}

  /** The next pause, in whole milliseconds, in [BACKOFF_MIN_MS, BACKOFF_MAX_MS]. */
  next(): number {
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.#failures);
    if (ceiling < BACKOFF_MAX_MS) this.#failures++;
    const half = Math.floor(ceiling / 2);
    return Math.max(BACKOFF_MIN_MS, half + this.random.below(ceiling - half + 1));
  }

  /** The peer was reached and stayed: the next pause is short again. */
  reset(): void {
    this.#failures = 0;
  }
}
