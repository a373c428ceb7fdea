/**
 * Many waits with deadlines, few timers: deadlines that lie close together share one timer, which rings after the last of
 * them. Thousands of calls may wait at once, mostly with the same time limit.
 */
import type { Clock, Timer } from "../base/clock";

/** Deadlines within this time share a timer, in milliseconds. Well below the margin that a deadline keeps (Deadline). */
const GRAIN_MS = 10;

interface Bucket {
  readonly timer: Timer;
  readonly waits: Set<() => void>;
}

export class SharedTimers {
  private readonly buckets = new Map<number, Bucket>();

  constructor(private readonly clock: Clock) {}

  /**
   * Calls `fn` once, at least `ms` and at most `ms` + 10 milliseconds from now.
   *
   * @returns what prevents it
   */
  after(ms: number, fn: () => void): () => void {
    const now = this.clock.now();
    const due = Math.ceil((now + ms) / GRAIN_MS);
    let bucket = this.buckets.get(due);
    if (bucket === undefined) {
      const timer = this.clock.setTimeout(
        () => {
          this.ring(due);
        },
        Math.max(0, due * GRAIN_MS - now),
      );
      bucket = { timer, waits: new Set() };
      this.buckets.set(due, bucket);
    }
    const { waits, timer } = bucket;
    waits.add(fn);
    return () => {
      if (!waits.delete(fn) || waits.size > 0 || this.buckets.get(due)?.waits !== waits) return;
      timer.cancel();
      this.buckets.delete(due);
    };
  }

  private ring(due: number): void {
    const waits = this.buckets.get(due)?.waits ?? [];
    this.buckets.delete(due);
    for (const fn of waits) fn();
  }
}
