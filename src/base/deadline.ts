/**
 * The deadline of one call on this member.
 *
 * A member answers shortly before the caller's deadline, so that the caller gets an error with details and not the
 * client library's bare DEADLINE_EXCEEDED. The margin is 5 % of the time left, at least 20 ms, at most 250 ms.
 */
import type { Clock } from "./clock";

const MARGIN_RATIO = 0.05;
const MARGIN_MS_MIN = 20;
const MARGIN_MS_MAX = 250;
/**
 * The longest that a call may wait on a member, in milliseconds; a longer deadline is cut to this. A call that waits costs
 * memory and a place among those that may wait, and a client that has waited for so long can as well ask again.
 */
export const WAIT_MS_MAX = 5 * 60 * 1000;
const DEFAULT_BASE_MS = 5000;

export class Deadline {
  private constructor(
    private readonly clock: Clock,
    /** On the clock's scale, in milliseconds. */
    private readonly at: number,
  ) {}

  /**
   * @param received milliseconds from now to the caller's deadline; null when the caller set none, which allows 5 s and
   *   two election timeouts
   * @param waitMsMax the longest that the call may wait, in milliseconds
   */
  static of(
    clock: Clock,
    received: number | null,
    electionTimeoutMs: number,
    waitMsMax = WAIT_MS_MAX,
  ): Deadline {
    const total = Math.min(received ?? DEFAULT_BASE_MS + 2 * electionTimeoutMs, waitMsMax);
    const margin = Math.min(MARGIN_MS_MAX, Math.max(MARGIN_MS_MIN, total * MARGIN_RATIO));
    return new Deadline(clock, clock.now() + Math.max(0, total - margin));
  }

  /** Milliseconds left; 0 when the deadline has passed. */
  remainingMs(): number {
    return Math.max(0, this.at - this.clock.now());
  }

  get passed(): boolean {
    return this.clock.now() >= this.at;
  }
}
