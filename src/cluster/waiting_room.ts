/**
 * The bound on calls that are under way on this member, wherever they wait: for a leader, for a quorum, for the leader's
 * answer. Each of them costs memory until it ends, and its caller decides how long that is.
 */
import { refused } from "../roster/index";

/** When a caller that was refused as one too many should come back, in milliseconds. */
const RETRY_DELAY_MS = 1000;

export class WaitingRoom {
  private count = 0;

  /**
   * @param what the calls, for the text of the refusal
   * @param max most of them at once
   */
  constructor(
    private readonly what: "writes" | "reads" | "watches",
    private readonly max: number,
  ) {}

  /** Calls that are under way. */
  get size(): number {
    return this.count;
  }

  /** Counts a call in; leave() must follow. @throws RefusedError TOO_MANY_REQUESTS, and counts nothing then */
  enter(): void {
    if (this.count >= this.max) {
      const text = `${String(this.max)} ${this.what} are under way already; try again later`;
      throw refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS);
    }
    this.count++;
  }

  /** The call is over. */
  leave(): void {
    this.count--;
  }
}
