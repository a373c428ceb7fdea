/** Work that runs when a test says so: what stands in for setImmediate. */

/** More than any test needs; beyond it two parts wake each other without end. */
const STEPS_MAX = 200_000;

export class WorkQueue {
  private queued: (() => void)[] = [];

  get size(): number {
    return this.queued.length;
  }

  readonly defer = (fn: () => void): void => {
    this.queued.push(fn);
  };

  /** Runs the first of what waits. */
  runOne(): void {
    this.queued.shift()?.();
  }

  /** Runs what waits, in order, and what that adds. */
  run(): void {
    for (let steps = 0; ; steps++) {
      const next = this.queued.shift();
      if (next === undefined) return;
      if (steps > STEPS_MAX) throw new Error("the work queue does not become empty");
      next();
    }
  }
}
