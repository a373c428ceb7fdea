/**
 * A clock whose ticks can be stopped: a leader without ticks stays leader although no member answers it, as long as a
 * test needs. Timers up to the length of a heartbeat count as ticks; deadlines continue.
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
