/** The context of a simulated call: no wire, but the same deadline and cancellation as a real one. */
import { Metadata } from "@grpc/grpc-js";
import type { CallContext } from "../../src/server/call";
import { Deadline } from "../../src/base/deadline";
import type { Clock } from "../../src/base/clock";

const NO_METADATA = new Metadata();

export class SimContext implements CallContext {
  readonly metadata = NO_METADATA;
  readonly deadline: Deadline;
  cancelled = false;
  private hook: () => void = () => undefined;

  constructor(
    readonly rpc: string,
    clock: Clock,
    remainingMs: number | null,
    electionMs: number,
    readonly mayForward: boolean,
  ) {
    this.deadline = Deadline.of(clock, remainingMs, electionMs);
  }

  onCancel(fn: () => void): void {
    this.hook = fn;
    if (this.cancelled) fn();
  }

  cancel(): void {
    if (this.cancelled) return;
    this.cancelled = true;
    this.hook();
  }
}
