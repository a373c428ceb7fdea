/**
 * Time as a value that is passed in: whatever waits or measures takes a Clock, so that a test or a simulation decides
 * when time passes.
 */
import { performance } from "node:perf_hooks";

/** A timer that has not fired. */
export interface Timer {
  /** The function is not called any more. Without effect after it fired. */
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since an arbitrary start. Never goes back; not the time of day. */
  now(): number;
  /** Calls `fn` once, after `ms` milliseconds, from a turn of its own. */
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
