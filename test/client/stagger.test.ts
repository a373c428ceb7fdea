/** Attempts side by side: which are started when, and which one counts. */
import type { Clock } from "../../src/client";
import { stagger } from "../../src/client/stagger";

/** Sleeps end when the test says so, or when they are aborted. */
class HeldClock implements Clock {
  readonly held: (() => void)[] = [];
  now(): number {
    return 0;
  }
  sleep(_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.held.push(resolve);
      signal?.addEventListener("abort", () => resolve());
    });
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Attempts {
  readonly started: number[] = [];
  readonly aborted: number[] = [];
  readonly end = new Map<number, { ok: (value: string) => void; fail: (error: Error) => void }>();
  readonly starts = [0, 1, 2].map((n) => (signal: AbortSignal): Promise<string> => {
    this.started.push(n);
    signal.addEventListener("abort", () => this.aborted.push(n));
    return new Promise((ok, fail) => this.end.set(n, { ok, fail }));
  });
}

let clock: HeldClock;
let attempts: Attempts;
const run = (nextOnBad = true): Promise<string[]> =>
  stagger(attempts.starts, { clock, delayMs: 250, isGood: (text) => text === "good", nextOnBad });

beforeEach(() => {
  clock = new HeldClock();
  attempts = new Attempts();
});

test("the next one starts only after the delay, and a good one ends the race", async () => {
  const race = run();
  await turn();
  expect(attempts.started).toEqual([0]);
  clock.held.at(-1)?.();
  await turn();
  expect(attempts.started).toEqual([0, 1]);
  attempts.end.get(1)?.ok("good");
  expect(await race).toEqual(["good"]);
  await turn();
  expect(attempts.started).toEqual([0, 1]);
  expect(attempts.aborted).toEqual([0, 1]);
});

test("a bad one starts the next at once", async () => {
  const race = run();
  await turn();
  attempts.end.get(0)?.ok("bad");
  await turn();
  expect(attempts.started).toEqual([0, 1]);
  attempts.end.get(1)?.ok("good");
  expect(await race).toEqual(["bad", "good"]);
});

test("without a good one the results of all", async () => {
  const race = run();
  for (const n of [0, 1, 2]) {
    await turn();
    attempts.end.get(n)?.ok(`bad ${n}`);
  }
  expect(await race).toEqual(["bad 0", "bad 1", "bad 2"]);
});

test("a rejection ends the race", async () => {
  const race = run();
  await turn();
  attempts.end.get(0)?.fail(new Error("refused for good"));
  await expect(race).rejects.toThrow("refused for good");
  await turn();
  expect(attempts.started).toEqual([0]);
});
