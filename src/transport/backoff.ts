/**
 * How long to wait before the next attempt to reach a peer. The longest pause doubles from 100 ms to 1 s; each pause is
 * drawn from the upper half of its step, so that the members of a cluster do not all dial a lost member at once.
 */
import type { RandomSource } from "../raft/index";

/** Shortest pause, in milliseconds. Less would dial in a tight loop; more would delay a peer that restarts. */
const BACKOFF_MIN_MS = 100;
/**
 * Longest pause, in milliseconds: about an election timeout, so that a peer that comes back hears of the leader soon.
 */
const BACKOFF_MAX_MS = 1000;

export class Backoff {
  /** Steps so far; no longer counted once the longest pause is reached. */
  private failures = 0;

  constructor(private readonly random: RandomSource) {}

  /** The next pause, in whole milliseconds, in [BACKOFF_MIN_MS, BACKOFF_MAX_MS]. */
  next(): number {
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.failures);
    if (ceiling < BACKOFF_MAX_MS) this.failures++;
    const half = Math.floor(ceiling / 2);
    return Math.max(BACKOFF_MIN_MS, half + this.random.below(ceiling - half + 1));
  }

  /** Makes the next pause short again. For a peer that was reached and whose stream stayed open. */
  reset(): void {
    this.failures = 0;
  }
}
