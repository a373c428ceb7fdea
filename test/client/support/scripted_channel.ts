/**
 * A Channel without a network: each attempt takes the next step of a script, and the last step repeats. Requests and
 * responses pass through the encoding of their method, as they would on a wire.
 */
import type { Attempt, Channel, Method } from "../../../src/client/attempt";

/** The outcome of one attempt: a response, several for a stream, or an error. */
export type Step =
  | { readonly respond: object }
  /** Fails with `fail`, if given, after the last message. */
  | { readonly stream: readonly object[]; readonly fail?: unknown }
  | { readonly fail: unknown }
  /** Computes the outcome when the attempt is made. */
  | { readonly decide: (attempt: Attempt) => Step };

export interface RecordedAttempt {
  readonly path: string;
  readonly request: Buffer;
  readonly attempt: Attempt;
}

export class ScriptedChannel implements Channel {
  readonly attempts: RecordedAttempt[] = [];
  /** Streams whose consumer is done with them. */
  streamsEnded = 0;
  closed = false;
  private readonly steps: Step[];

  constructor(
    readonly authority: string,
    ...steps: Step[]
  ) {
    this.steps = steps;
  }

  async unary<Req, Res>(method: Method<Req, Res>, request: Req, attempt: Attempt): Promise<Res> {
    const step = this.next(method, request, attempt);
    if ("respond" in step) return reencoded(method, step.respond);
    throw "fail" in step ? step.fail : new Error("the script has no response");
  }

  async *serverStream<Req, Res>(
    method: Method<Req, Res>,
    request: Req,
    attempt: Attempt,
  ): AsyncGenerator<Res, void, undefined> {
    const step = this.next(method, request, attempt);
    try {
      for (const message of "stream" in step ? step.stream : []) yield reencoded(method, message);
      if ("fail" in step) throw step.fail;
    } finally {
      this.streamsEnded++;
    }
  }

  close(): void {
    this.closed = true;
  }

  private next<Req, Res>(method: Method<Req, Res>, request: Req, attempt: Attempt): Step {
    this.attempts.push({ path: method.path, request: method.requestSerialize(request), attempt });
    let step = this.steps.length > 1 ? this.steps.shift() : this.steps[0];
    while (step !== undefined && "decide" in step) step = step.decide(attempt);
    if (step === undefined) throw new Error("the script is empty");
    return step;
  }
}

/** Generated service definitions hold both directions; a Method has only those that a client needs. */
function reencoded<Req, Res>(method: Method<Req, Res>, message: object): Res {
  const { responseSerialize } = method as unknown as { responseSerialize: (value: object) => Buffer };
  return method.responseDeserialize(responseSerialize(message));
}
