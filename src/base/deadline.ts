/**
 * How long one call may take on this member.
 *
 * A member answers a little before the deadline it received, so that the caller gets an answer with details in place
 * of the client library's bare DEADLINE_EXCEEDED: 5 % before, at least 20 ms, at most 250 ms. SPEC section 2.
 */
import type { Clock, Timer } from "./clock";

const MARGIN_RATIO = 0.05;
const MARGIN_MS_MIN = 20;
const MARGIN_MS_MAX = 250;
/** setTimeout takes no more than 2^31 - 1 ms; nobody waits longer than this for one change. */
const REMAINING_MS_MAX = 24 * 3600 * 1000;
const DEFAULT_BASE_MS = 5000;

export class Deadline {
  private constructor(
    private readonly clock: Clock,
    /** On the clock's scale, in milliseconds. */
    private readonly at: number,
  ) {}

  /**
   * @param received what the caller's deadline leaves from now, in milliseconds; null when it set none (then 5 s and
   *   two election timeouts)
   */
  static of(clock: Clock, received: number | null, electionTimeoutMs: number): Deadline {
    const total = Math.min(received ?? DEFAULT_BASE_MS + 2 * electionTimeoutMs, REMAINING_MS_MAX);
    const margin = Math.min(MARGIN_MS_MAX, Math.max(MARGIN_MS_MIN, total * MARGIN_RATIO));
    return new Deadline(clock, clock.now() + Math.max(0, total - margin));
  }

  /** Milliseconds left; 0 when it has passed. */
  remainingMs(): number {
    return Math.max(0, this.at - this.clock.now());
  }

  /** Calls `fn` when it passes. */
  onPassed(fn: () => void): Timer {
    return this.clock.setTimeout(fn, this.remainingMs());
  }

  get passed(): boolean {
    return this.clock.now() >= this.at;
  }
}
