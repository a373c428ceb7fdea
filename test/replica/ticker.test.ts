/** Ticks from a clock: steady, and few after a pause of the process. */
import type { Clock, Timer } from "../../src/base/clock";
import { Ticker } from "../../src/replica/ticker";

const INTERVAL_MS = 100;

/** A clock of a process that can be paused: its timers then fire late, all at the end of the pause. */
class PausingClock implements Clock {
  time = 7_000;
  private timers: { readonly at: number; readonly fn: () => void }[] = [];

  now(): number {
    return this.time;
  }

  setTimeout(fn: () => void, ms: number): Timer {
    const timer = { at: this.time + ms, fn };
    this.timers.push(timer);
    return { cancel: () => (this.timers = this.timers.filter((other) => other !== timer)) };
  }

  /** The process runs again after `ms`: what is due fires once. */
  pause(ms: number): void {
    this.time += ms;
    const due = this.timers.filter(({ at }) => at <= this.time);
    this.timers = this.timers.filter(({ at }) => at > this.time);
    for (const { fn } of due) fn();
  }

  /** Milliseconds until the next timer; null without one. */
  get next(): number | null {
    return this.timers.length === 0 ? null : Math.min(...this.timers.map(({ at }) => at)) - this.time;
  }
}

let clock: PausingClock;
let ticks: number;
let ticker: Ticker;
beforeEach(() => {
  clock = new PausingClock();
  ticks = 0;
  ticker = new Ticker(clock, INTERVAL_MS, () => ticks++);
});

/** Ticks of a pause of `ms`. */
function ticksIn(ms: number): number {
  const before = ticks;
  clock.pause(ms);
  return ticks - before;
}

test("one tick per interval", () => {
  ticker.start();
  for (let i = 1; i <= 50; i++) {
    expect(ticksIn(INTERVAL_MS - 1)).toBe(0);
    expect(ticksIn(1)).toBe(1);
  }
});

test("a timer that fires late does not make later ticks late", () => {
  ticker.start();
  expect(ticksIn(130)).toBe(1);
  expect(clock.next).toBe(70);
});

test("two ticks that are due come at once", () => {
  ticker.start();
  expect(ticksIn(250)).toBe(2);
  expect(clock.next).toBe(50);
});

test.each([300, 1_000, 3_600_000])(
  "after a pause of %i ms two ticks come, and then one per interval",
  (ms) => {
    ticker.start();
    expect(ticksIn(ms)).toBe(2);
    expect(clock.next).toBe(INTERVAL_MS);
    expect(ticksIn(INTERVAL_MS)).toBe(1);
  },
);

test("the first tick comes one interval after the start, however long before it was made", () => {
  clock.pause(5_000);
  ticker.start();
  expect(clock.next).toBe(INTERVAL_MS);
  expect(ticksIn(INTERVAL_MS)).toBe(1);
});

test("nothing comes after stop, not even the second of two ticks at once", () => {
  const stopping: Ticker = new Ticker(clock, INTERVAL_MS, () => {
    ticks++;
    stopping.stop();
  });
  stopping.start();
  expect(ticksIn(1_000)).toBe(1);
  expect(clock.next).toBeNull();
  ticker.start();
  ticker.stop();
  expect(clock.next).toBeNull();
});
