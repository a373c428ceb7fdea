/**
 * Time as an argument: code that waits or measures takes a Clock, so that a test or a simulation decides when time
 * passes.
 */
import { performance } from "node:perf_hooks";

/** A timer that has not fired. */
export interface Timer {
  /** Prevents the call of the function. Has no effect after the timer has fired. */
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since an arbitrary start. Never goes back. Not the time of day. */
  now(): number;
  /** Calls `fn` once, after `ms` milliseconds, in a separate turn of the event loop. */
  setTimeout(fn: () => void, ms: number): Timer;
}

/** The machine's monotonic clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout(fn, ms) {
    const handle = setTimeout(fn, ms);
    return {
      cancel: () => {
        clearTimeout(handle);
      },
    };
  },
};
