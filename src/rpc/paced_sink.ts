/**
 * Writes a streamed response at the caller's pace. With write(), a caller that takes nothing for too long loses its call, so that a
 * client that stopped reading does not keep the response in memory.
 *
 * Invariant: at most one write waits at a time; a timer runs only while one does.
 */
import type { ServerWritableStream } from "@grpc/grpc-js";
import { CALL_CANCELLED } from "../base/call";
import type { Call } from "../base/call";
import type { Clock } from "../base/clock";
import type { Answer, ResponseSink } from "./definition";
import { refusalError } from "./rpc_error";

export class PacedSink<Res> implements ResponseSink<Res> {
  /** Why nothing more can be written; null while it can. */
  private failure: Error | null = null;
  /** Ends the wait of the write that waits; null when none does. */
  private wake: (() => void) | null = null;
  private readonly stopListening: () => void;
  private readonly drained = (): void => {
    this.wake?.();
  };

  /** @param stallMs how long the caller may take nothing before write() fails, in milliseconds */
  constructor(
    private readonly stream: Pick<ServerWritableStream<unknown, Answer<Res>>, "write" | "on" | "off">,
    call: Call,
    private readonly clock: Clock,
    private readonly stallMs: number,
  ) {
    stream.on("drain", this.drained);
    this.stopListening = call.onCancel(() => {
      this.fail(CALL_CANCELLED);
    });
  }

  fail(error: Error): void {
    this.failure ??= error;
    this.wake?.();
  }

  /** Stops listening to the stream and to the call. Call it once, after the last write. */
  close(): void {
    this.stream.off("drain", this.drained);
    this.stopListening();
  }

  async write(message: Res): Promise<void> {
    this.check();
    if (this.stream.write(message)) return;
    await new Promise<void>((resolve) => {
      const timer = this.clock.setTimeout(() => {
        this.fail(stalled(this.stallMs));
      }, this.stallMs);
      this.wake = (): void => {
        timer.cancel();
        this.wake = null;
        resolve();
      };
    });
    this.check();
  }

  push(message: Answer<Res>, taken: (error?: Error | null) => void): void {
    this.stream.write(message, taken);
  }

  private check(): void {
    if (this.failure !== null) throw this.failure;
  }
}

function stalled(stallMs: number): Error {
  return refusalError({
    reason: "NOT_PROPOSED",
    message: `the caller took nothing for ${String(stallMs)} ms; the answer was not sent whole`,
    metadata: {},
  });
}
