/** A Channel whose streams are fed by the test, message by message. */
import { status } from "@grpc/grpc-js";
import { MusterError } from "../../../src/client";
import type { Attempt, Channel, Method } from "../../../src/client/attempt";
import type { WatchMembersRequest } from "../../../src/generated/muster/v1/membership_service";

/** One stream that a client opened. */
export class FedStream {
  /** Whether its reader is done with it. */
  closed = false;
  /** Messages that its reader has asked for, answered or not. */
  reads = 0;
  private readonly queue: object[] = [];
  private ending: { readonly error: Error | null } | null = null;
  private wake: () => void = () => undefined;

  constructor(
    readonly path: string,
    readonly request: WatchMembersRequest,
    readonly attempt: Attempt,
  ) {
    attempt.signal?.addEventListener("abort", () => {
      this.fail(new MusterError({ code: status.CANCELLED, message: "cancelled" }));
    });
  }

  push(...messages: object[]): this {
    this.queue.push(...messages);
    this.wake();
    return this;
  }

  /** Ends after what was pushed. */
  end(): void {
    this.ending ??= { error: null };
    this.wake();
  }

  fail(error: Error): void {
    this.ending ??= { error };
    this.wake();
  }

  /** The connection is lost. */
  lose(): void {
    this.fail(new MusterError({ code: status.UNAVAILABLE, message: "connection lost" }));
  }

  async *read(): AsyncGenerator<object, void, undefined> {
    try {
      for (;;) {
        this.reads++;
        let message = this.queue.shift();
        while (message === undefined && this.ending === null) {
          await new Promise<void>((resolve) => (this.wake = resolve));
          message = this.queue.shift();
        }
        if (message !== undefined) yield message;
        else if (this.ending?.error != null) throw this.ending.error;
        else return;
      }
    } finally {
      this.closed = true;
    }
  }
}

export class StreamChannel implements Channel {
  readonly streams: FedStream[] = [];
  serving = true;
  closed = false;
  /** Called with each stream that is opened. */
  onOpen: (stream: FedStream) => void = () => undefined;

  constructor(readonly authority: string) {}

  get last(): FedStream {
    const stream = this.streams.at(-1);
    if (stream === undefined) throw new Error(`no stream to ${this.authority}`);
    return stream;
  }

  unary(): Promise<never> {
    return Promise.reject(new MusterError({ code: status.UNIMPLEMENTED, message: "streams only" }));
  }

  async *serverStream<Req, Res>(
    method: Method<Req, Res>,
    request: Req,
    attempt: Attempt,
  ): AsyncGenerator<Res, void, undefined> {
    const stream = new FedStream(method.path, request as WatchMembersRequest, attempt);
    this.streams.push(stream);
    this.onOpen(stream);
    for await (const message of stream.read()) yield message as Res;
  }

  close(): void {
    this.closed = true;
  }
}

/** Waits, turn by turn of the event loop, until the condition holds. */
export async function until(condition: () => boolean): Promise<void> {
  for (let turns = 0; !condition(); turns++) {
    if (turns > 100_000) throw new Error("it does not come true");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
