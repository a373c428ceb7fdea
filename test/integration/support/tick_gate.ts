/**
 * A clock whose ticks can be held back: a leader without ticks goes on leading although nobody answers it, for as long
 * as a test needs. Timers no longer than a heartbeat are taken for ticks; deadlines go on.
 */
import { systemClock } from "../../../src/base/clock";
import type { Clock } from "../../../src/base/clock";

export class TickGate {
  private isShut = false;
  private waiting: (() => void)[] = [];
  readonly clock: Clock;

  constructor(heartbeatMs: number) {
    this.clock = {
      now: () => systemClock.now(),
      setTimeout: (fn, ms) => {
        const isTick = ms <= heartbeatMs;
        return systemClock.setTimeout(() => {
          if (isTick && this.isShut) this.waiting.push(fn);
          else fn();
        }, ms);
      },
    };
  }

  shut(): void {
    this.isShut = true;
  }

  lift(): void {
    this.isShut = false;
    const waiting = this.waiting;
    this.waiting = [];
    for (const go of waiting) go();
  }
}
