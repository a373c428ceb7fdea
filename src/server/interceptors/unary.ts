/**
 * What every unary handler goes through: a request that does not decode becomes INVALID_REQUEST, the deadline is
 * shortened, cancellation is passed on, whatever is thrown becomes a status with details, and the callback is called
 * exactly once (an async handler that throws would otherwise leave its caller waiting for its deadline).
 */
import type { Metadata, ServerUnaryCall, handleUnaryCall } from "@grpc/grpc-js";
import type { Clock } from "../../base/clock";
import { Garbage } from "../../transport/service_definition";
import type { Incoming } from "../../transport/service_definition";
import { CallCancelledError, FORWARD_KEY } from "../call";
import type { CallContext } from "../call";
import { Deadline } from "../../base/deadline";
import { RefusedError, internalError, refused, toStatus } from "../errors";
import type { StatusError } from "../errors";
import { PassedOnError } from "../forwarder";
import type { Logger } from "../logger";

export interface UnaryOptions {
  readonly clock: Clock;
  /** Milliseconds since 1970: the scale of the deadlines that grpc-js gives. */
  readonly wallNow: () => number;
  readonly electionMs: number;
  readonly log: Logger;
  /** Term and index for the log's lines about refusals. */
  readonly position: () => { readonly term: number; readonly index: number };
}

/** A Buffer is an encoded response. */
export type Answer<Res> = Res | Buffer;

/** A call that the library handed over: what the context of one is made of. */
export type AnyServerCall = Pick<ServerUnaryCall<unknown, unknown>, "on" | "metadata" | "getDeadline">;

export class ServerCallContext implements CallContext {
  cancelled = false;
  private hook: () => void = () => undefined;

  constructor(
    readonly rpc: string,
    readonly deadline: Deadline,
    readonly metadata: Metadata,
    call: Pick<ServerUnaryCall<unknown, unknown>, "on">,
  ) {
    call.on("cancelled", () => {
      this.cancelled = true;
      this.hook();
    });
  }

  get mayForward(): boolean {
    return !this.metadata.get(FORWARD_KEY).includes("never");
  }

  onCancel(fn: () => void): void {
    this.hook = fn;
    if (this.cancelled) fn();
  }

  /** The call is answered: the library tells of its end as of a cancellation, which concerns nobody any more. */
  finish(): void {
    this.hook = () => undefined;
  }
}

export function unary<Req, Res>(
  rpc: string,
  options: UnaryOptions,
  handle: (request: Req, context: CallContext) => Promise<Answer<Res>>,
): handleUnaryCall<Incoming<Req>, Answer<Res>> {
  return (call, callback) => {
    const context = callContext(rpc, call, options);
    void run(call.request, context, handle, options).then(
      (answer) => {
        context.finish();
        callback(null, answer);
      },
      (error: unknown) => {
        context.finish();
        callback(statusOf(error, context, options));
      },
    );
  };
}

async function run<Req, Res>(
  request: Incoming<Req>,
  context: CallContext,
  handle: (request: Req, context: CallContext) => Promise<Answer<Res>>,
  options: UnaryOptions,
): Promise<Answer<Res>> {
  if (request instanceof Garbage) {
    options.log.debug({ rpc: context.rpc, problem: request.problem }, "a request does not decode");
    throw refused(
      "INVALID_REQUEST",
      "the request's bytes do not decode; generate the client from the current proto files",
    );
  }
  return handle(request, context);
}

/** The context of one call, with the deadline that this member answers by. */
export function callContext(rpc: string, call: AnyServerCall, options: UnaryOptions): ServerCallContext {
  return new ServerCallContext(rpc, deadlineOf(call.getDeadline(), options), call.metadata, call);
}

function deadlineOf(received: Date | number, { clock, wallNow, electionMs }: UnaryOptions): Deadline {
  const at = typeof received === "number" ? received : received.getTime();
  return Deadline.of(clock, Number.isFinite(at) ? at - wallNow() : null, electionMs);
}

/** What the caller gets for whatever a handler threw; refusals and failures are logged. */
export function statusOf(
  error: unknown,
  context: CallContext,
  options: UnaryOptions,
): Pick<StatusError, "code" | "details" | "metadata"> {
  if (error instanceof PassedOnError) {
    return { code: error.code, details: error.details, metadata: error.metadata };
  }
  if (error instanceof RefusedError) {
    const { reason, message } = error.refusal;
    options.log.refusal({ rpc: context.rpc, reason, text: message, ...options.position() });
    return toStatus(error);
  }
  if (error instanceof CallCancelledError) {
    return toStatus(refused("NOT_PROPOSED", "the caller cancelled the call"));
  }
  const err = error instanceof Error ? error : new Error(String(error));
  options.log.error({ rpc: context.rpc }, "a call failed unexpectedly", err);
  return internalError();
}
