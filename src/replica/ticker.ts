/** Turns the clock into ticks: one per heartbeat interval, and after a pause of the process few at once. */
import type { Clock, Timer } from "../base/clock";

/** After a pause of the process, lost time is not made up for: at most this many ticks at once. */
const TICKS_AT_ONCE_MAX = 2;

export class Ticker {
  private lastTickMs = 0;
  private timer: Timer | null = null;
  private stopped = false;

  /** @param intervalMs between two ticks, in milliseconds */
  constructor(
    private readonly clock: Clock,
    private readonly intervalMs: number,
    private readonly tick: () => void,
  ) {}

  /** The first tick comes one interval from now. */
  start(): void {
    this.lastTickMs = this.clock.now();
    this.schedule();
  }

  /** No tick comes any more, not even the second of two at once. */
  stop(): void {
    this.stopped = true;
    this.timer?.cancel();
  }

  private schedule(): void {
    const untilNextMs = Math.max(1, this.lastTickMs + this.intervalMs - this.clock.now());
    this.timer = this.clock.setTimeout(() => {
      this.fire();
    }, untilNextMs);
  }

  private fire(): void {
    const now = this.clock.now();
    const due = Math.floor((now - this.lastTickMs) / this.intervalMs);
    const ticks = Math.min(Math.max(due, 1), TICKS_AT_ONCE_MAX);
    this.lastTickMs = due > TICKS_AT_ONCE_MAX ? now : this.lastTickMs + ticks * this.intervalMs;
    for (let i = 0; i < ticks && !this.stopped; i++) this.tick();
    if (!this.stopped) this.schedule();
  }
}
