/** A member answers 5 % before the deadline that it received: at least 20 ms, at most 250 ms. */
import { Deadline, WAIT_MS_MAX } from "../../src/base/deadline";
import { ManualClock } from "./support/manual_clock";

test.each([
  [1000, 950],
  [100, 80],
  [400, 380],
  [5000, 4750],
  [60_000, 59_750],
  [20, 0],
  [5, 0],
  [0, 0],
  [-100, 0],
])("of %d ms, %d ms are used", (received, used) => {
  const clock = new ManualClock();
  clock.advance(12_345);
  expect(Deadline.of(clock, received, 1000).remainingMs()).toBe(used);
});

test("none set: 5 s and two election timeouts, less the margin", () => {
  expect(Deadline.of(new ManualClock(), null, 1000).remainingMs()).toBe(7000 - 250);
});

test("one of many days is held to the longest wait, which an option changes", () => {
  const days = 400 * 86_400_000;
  expect(Deadline.of(new ManualClock(), days, 1000).remainingMs()).toBe(WAIT_MS_MAX - 250);
  expect(Deadline.of(new ManualClock(), days, 1000, 7000).remainingMs()).toBe(7000 - 250);
});

test("it passes when its time has come", () => {
  const clock = new ManualClock();
  const deadline = Deadline.of(clock, 1000, 1000);
  clock.advance(949);
  expect([deadline.passed, deadline.remainingMs()]).toEqual([false, 1]);
  clock.advance(1);
  expect([deadline.passed, deadline.remainingMs()]).toEqual([true, 0]);
  clock.advance(1000);
  expect(deadline.remainingMs()).toBe(0);
});
