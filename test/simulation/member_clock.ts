/**
 * One member's clocks: a monotonic one that runs a little fast or slow and may jump ahead (a machine that was
 * suspended), and a wall clock that may be set anywhere.
 */
import type { Clock, Timer } from "../../src/base/clock";
import type { Owner, Scheduler } from "./scheduler";

/** 2026-01-01T00:00:00Z. */
const WALL_START_MS = 1_767_225_600_000;

/** The clocks of a machine, which outlive the processes on it. */
export class MachineTime {
  private rate = 1;
  private anchorUs = 0;
  private anchorMs = 0;
  private wallOffsetMs = 0;

  constructor(private readonly scheduler: Scheduler) {}

  nowMs(): number {
    return this.anchorMs + ((this.scheduler.nowUs - this.anchorUs) / 1000) * this.rate;
  }

  wallMs(): number {
    return Math.round(WALL_START_MS + this.wallOffsetMs + this.nowMs());
  }

  /** Converts milliseconds of this clock to virtual microseconds. */
  toUs(ms: number): number {
    return (ms * 1000) / this.rate;
  }

  setRate(rate: number): void {
    this.jump(0);
    this.rate = rate;
  }

  jump(ms: number): void {
    this.anchorMs = this.nowMs() + ms;
    this.anchorUs = this.scheduler.nowUs;
  }

  setWall(byMs: number): void {
    this.wallOffsetMs += byMs;
  }
}

/** The clock of one process. */
export class MemberClock implements Clock {
  constructor(
    private readonly time: MachineTime,
    private readonly owner: Owner,
    private readonly scheduler: Scheduler,
  ) {}

  now(): number {
    return this.time.nowMs();
  }

  setTimeout(fn: () => void, ms: number): Timer {
    const event = this.scheduler.after(this.time.toUs(Math.max(1, ms)), "timer", this.owner, fn);
    return {
      cancel: () => {
        event.run = null;
      },
    };
  }
}
