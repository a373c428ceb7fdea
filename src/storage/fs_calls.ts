/**
 * Adapters for the callbacks of fs.ts: operations as promises, and sequences of operations.
 */
import type { FsCallback, FsDone } from "./fs";

/** One operation as a promise. For opening, creating and closing; the append path uses the callbacks directly. */
export function call<T>(start: (done: FsCallback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((...result) => {
      if (result[0] !== null) reject(result[0]);
      else resolve(result[1]);
    });
  });
}

/** Like `call`, for operations without a value. */
export function run(start: (done: FsDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error !== null) reject(error);
      else resolve();
    });
  });
}

/** Runs steps one after the other until one fails. `done` is called once, with that error or null. */
export function series(steps: readonly ((next: FsDone) => void)[], done: FsDone): void {
  const runStep = (i: number): void => {
    const step = steps[i];
    if (step === undefined) {
      done(null);
      return;
    }
    step((error) => {
      if (error !== null) done(error);
      else runStep(i + 1);
    });
  };
  runStep(0);
}
