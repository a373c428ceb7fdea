/** A clock whose sleeps end when the test says so. */
import type { Clock } from "../../../src/client";

/** Sleeps end when the test says so, or when they are aborted. */
export class HeldClock implements Clock {
  held: (() => void)[] = [];
  now(): number {
    return 0;
  }
  sleep(_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.held.push(resolve);
      signal?.addEventListener("abort", () => resolve());
    });
  }
  async pass(): Promise<void> {
    for (const wake of this.held.splice(0)) wake();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
