/** What became of a promise, to be looked at while it is open. */

export class Tracked<T> {
  state: "open" | "done" | "failed" = "open";
  value: T | null = null;
  error: unknown = null;

  constructor(promise: Promise<T>) {
    promise.then(
      (value) => {
        this.state = "done";
        this.value = value;
      },
      (error: unknown) => {
        this.state = "failed";
        this.error = error;
      },
    );
  }
}

/** Lets all promises settle that can: one turn of the event loop, no time. */
export function promisesSettle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
