/**
 * One call over several endpoints: makes attempts until one succeeds, the service refuses the call for good, or the
 * time of the call is over.
 *
 * Invariants: all attempts of a write carry one request_id. A write that may have happened never ends as
 * "unavailable" or as plain "deadline exceeded": it ends as OUTCOME_UNKNOWN with its request_id.
 * Reads no clock, draws no random number and opens no connection: all three are passed in.
 */
import { status } from "@grpc/grpc-js";
import type { Attempt, Channel, Method } from "./attempt";
import type { Clock } from "./clock";
import { MusterError } from "./errors";
import { attemptMinMs, attemptMs, isRepeatable, mayHaveHappened, pauseMs } from "./retry";

/** The settings of one call, independent of its method. */
export interface CallPlan {
  /** Milliseconds for all attempts together. */
  readonly timeoutMs: number;
  /** Ends the call with CANCELLED. */
  readonly signal: AbortSignal | undefined;
  /** The request_id in the request of a write; undefined for a read. */
  readonly requestId: string | undefined;
  /** Whether a success changes the cluster: false for reads and for validate_only. */
  readonly changes: boolean;
}

/** Makes one attempt over one channel. Rejects with MusterError; any other error ends the call. */
type MakeAttempt<Res> = (channel: Channel, attempt: Attempt) => Promise<Res>;

/** The parts that a Caller is given. */
export interface CallerDeps {
  /** One per endpoint, at least one. The Caller closes them. */
  readonly channels: readonly Channel[];
  /** Rules pauses and the deadline of a call. */
  readonly clock: Clock;
  /** A number in [0, 1) for the jitter of pauses. */
  readonly random: () => number;
  /** False: a call ends as soon as no endpoint of a whole round could be connected to. */
  readonly waitForConnection: boolean;
}

/** Runs calls over the endpoints of one cluster. A call starts at the endpoint that answered last. */
export class Caller {
  /** Index of the channel whose member answered last. */
  private preferred = 0;
  private closed = false;
  /** One for each call in flight, so that close() can end it. */
  private readonly inFlight = new Set<AbortController>();

  constructor(private readonly deps: CallerDeps) {}

  /** Calls a method with one request and one response. @throws MusterError only */
  call<Req, Res>(method: Method<Req, Res>, request: Req, plan: CallPlan): Promise<Res> {
    return this.run((channel, attempt) => channel.unary(method, request, attempt), plan);
  }

  /** Runs a call whose attempts are made by `make`. @throws MusterError only */
  async run<Res>(make: MakeAttempt<Res>, plan: CallPlan): Promise<Res> {
    const abort = new AbortController();
    const cancel = (): void => {
      abort.abort();
    };
    if (plan.signal?.aborted === true) cancel();
    plan.signal?.addEventListener("abort", cancel, { once: true });
    this.inFlight.add(abort);
    try {
      return await this.repeat(make, { ...plan, signal: abort.signal });
    } finally {
      this.inFlight.delete(abort);
      plan.signal?.removeEventListener("abort", cancel);
    }
  }

  /** Closes every channel; calls in flight end with CANCELLED. */
  close(): void {
    this.closed = true;
    for (const abort of this.inFlight) abort.abort();
    for (const channel of this.deps.channels) channel.close();
  }

  private async repeat<Res>(make: MakeAttempt<Res>, plan: CallPlan): Promise<Res> {
    const { channels, clock } = this.deps;
    const deadline = clock.now() + plan.timeoutMs;
    const first = this.preferred;
    const failures = new Failures(plan);
    for (let attempt = 0; ; attempt++) {
      this.checkOpen(plan);
      const index = (first + attempt) % channels.length;
      const channel = channels[index];
      if (channel === undefined) throw new MusterError({ code: status.INTERNAL, message: "no endpoints" });
      try {
        const timeoutMs = attemptMs(deadline - clock.now(), attempt, channels.length);
        const response = await make(channel, {
          timeoutMs,
          requestId: plan.requestId,
          signal: plan.signal,
        });
        this.preferred = index;
        return response;
      } catch (thrown) {
        const error = asMusterError(thrown, plan);
        this.checkOpen(plan);
        if (!isRepeatable(error)) {
          if (error.reason !== undefined) this.preferred = index;
          throw error;
        }
        failures.add(channel.authority, error);
      }
      await this.pause(failures, attempt + 1, deadline, plan);
    }
  }

  /** Waits before the next attempt. @throws MusterError with the outcome of the call when no attempt is left */
  private async pause(failures: Failures, attempts: number, deadline: number, plan: CallPlan): Promise<void> {
    const { channels, clock, random, waitForConnection } = this.deps;
    if (!waitForConnection && failures.unsentInARow >= channels.length) throw failures.outcome();
    const ms = pauseMs(failures.last, attempts, channels.length, random());
    const leastMs = attemptMinMs(plan.timeoutMs, plan.changes && !failures.isAmbiguous);
    if (clock.now() + ms > deadline - leastMs) throw failures.outcome();
    if (ms > 0) await clock.sleep(ms, plan.signal);
  }

  private checkOpen(plan: CallPlan): void {
    if (!this.closed && plan.signal?.aborted !== true) return;
    const message = this.closed ? "the client is closed" : "the caller cancelled the call";
    throw new MusterError({ code: status.CANCELLED, message, requestId: plan.requestId });
  }
}

/** The failed attempts of one call, and the error that follows from them. */
class Failures {
  /** How many of the latest attempts in a row found no connection. */
  unsentInARow = 0;
  private latest: MusterError | undefined;
  /** The last refusal by the service: more informative than a broken connection after it. */
  private explained: MusterError | undefined;
  /** The last failure after which the change may have been made. */
  private ambiguous: MusterError | undefined;
  /** The latest failure of each endpoint, by authority. */
  private readonly byEndpoint = new Map<string, MusterError>();

  constructor(private readonly plan: CallPlan) {}

  get last(): MusterError {
    return this.latest ?? new MusterError({ code: status.INTERNAL, message: "no attempt was made" });
  }

  /** Whether a change may have been made. */
  get isAmbiguous(): boolean {
    return this.ambiguous !== undefined;
  }

  add(authority: string, error: MusterError): void {
    this.latest = error;
    this.byEndpoint.set(authority, error);
    this.unsentInARow = error.sent ? 0 : this.unsentInARow + 1;
    if (error.reason !== undefined) this.explained = error;
    if (this.plan.changes && mayHaveHappened(error)) this.ambiguous = error;
  }

  /** The failure of a call without any reason of the service: lists the failure of each endpoint. */
  private unexplained(): MusterError {
    if (this.byEndpoint.size < 2) return this.last;
    const all = [...this.byEndpoint.values()];
    return new MusterError({
      code: this.last.code,
      message: all.map((error) => error.message).join("; "),
      endpoint: this.last.endpoint,
      requestId: this.plan.requestId,
      sent: all.some((error) => error.sent),
      cause: this.last,
    });
  }

  /** The error that the call ends with. */
  outcome(): MusterError {
    const { ambiguous } = this;
    if (ambiguous === undefined) return this.explained ?? this.unexplained();
    if (ambiguous.reason === "OUTCOME_UNKNOWN") return ambiguous;
    return new MusterError({
      code: status.DEADLINE_EXCEEDED,
      reason: "OUTCOME_UNKNOWN",
      message: `the change may have been made; the last answer was: ${this.last.message}`,
      endpoint: this.last.endpoint,
      requestId: this.plan.requestId,
      cause: ambiguous,
    });
  }
}

/** An error that is no MusterError is a fault of this client or of its caller, such as a field of the wrong type. */
function asMusterError(thrown: unknown, plan: CallPlan): MusterError {
  if (thrown instanceof MusterError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new MusterError({
    code: status.INTERNAL,
    message,
    requestId: plan.requestId,
    sent: false,
    cause: thrown,
  });
}
