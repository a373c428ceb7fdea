/** A clock that stands still until someone sleeps on it; sleeping takes no real time. */
import type { Clock } from "../../../src/client";

export class FakeClock implements Clock {
  readonly sleeps: number[] = [];
  private time = 0;

  now(): number {
    return this.time;
  }

  sleep(ms: number): Promise<void> {
    this.sleeps.push(ms);
    this.time += ms;
    return Promise.resolve();
  }
}
