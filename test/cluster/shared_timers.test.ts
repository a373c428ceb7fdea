/** Deadlines that share timers: none rings early, none is left behind. */
import { SharedTimers } from "../../src/cluster/shared_timers";
import { ManualClock } from "../base/support/manual_clock";

let clock: ManualClock;
let timers: SharedTimers;
beforeEach(() => {
  clock = new ManualClock();
  timers = new SharedTimers(clock);
});

test.each([0, 1, 9, 10, 11, 123.4, 60_000])("after %d ms it rings, not before, and within 10 ms", (ms) => {
  clock.advance(7);
  let rang: number | null = null;
  timers.after(ms, () => (rang = clock.now()));
  for (let i = 0; i <= ms + 20; i++) clock.advance(1);
  expect(rang).toBeGreaterThanOrEqual(7 + ms);
  expect(rang).toBeLessThanOrEqual(7 + Math.ceil(ms) + 10);
  expect(clock.timerCount).toBe(0);
});

test("one that is taken back does not ring; the last one takes the timer with it", () => {
  const rang: string[] = [];
  const forget = ["a", "b", "c"].map((name) => timers.after(95, () => rang.push(name)));
  expect(clock.timerCount).toBe(1);
  forget[0]?.();
  forget[0]?.();
  clock.advance(100);
  expect(rang).toEqual(["b", "c"]);
  // After it rang nothing is left to take back, and a new one of the same time is not hurt by it.
  timers.after(0, () => rang.push("d"));
  for (const each of forget) each();
  clock.advance(10);
  expect([rang, clock.timerCount]).toEqual([["b", "c", "d"], 0]);
  timers.after(50, () => rang.push("e"))();
  expect(clock.timerCount).toBe(0);
});

test("one that ends another as it rings", () => {
  const rang: string[] = [];
  const forgetOther: (() => void)[] = [];
  timers.after(5, () => {
    rang.push("first");
    forgetOther[0]?.();
  });
  forgetOther.push(timers.after(5, () => rang.push("second")));
  clock.advance(10);
  expect(rang).toEqual(["first"]);
});
