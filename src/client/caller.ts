/**
 * One call over several endpoints: makes attempts until one succeeds, the service refuses the call for good, or the
 * time of the call is over.
 *
 * Invariants: all attempts of a write carry one request_id. A write that may have happened never ends as
 * "unavailable" or as plain "deadline exceeded": it ends as OUTCOME_UNKNOWN with its request_id. Attempts after one that
 * may have happened say so to the member.
 * Endpoints are connected to side by side, staggered; an attempt goes to the first one that is connected, so that a dead
 * address does not use up the time of a call. Nothing is sent twice by this: only connecting is.
 * Reads no clock, draws no random number and opens no connection: all three are passed in.
 */
import { status } from "@grpc/grpc-js";
import type { Attempt, Channel, Method } from "./attempt";
import type { Clock } from "./clock";
import { MusterError } from "./errors";
import {
  attemptMinMs,
  attemptMs,
  holdsForEarlierAttempts,
  isRepeatable,
  mayHaveHappened,
  pauseMs,
} from "./retry";
import { STAGGER_MS, stagger } from "./stagger";

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
  /** Whether an earlier call with this request_id may have been made. @default false */
  readonly repeats?: boolean;
  /** Whether an attempt that may have happened must not be repeated. @default false: a request_id makes repeats safe */
  readonly once?: boolean;
}

/** Makes one attempt over one channel. Rejects with MusterError; any other error ends the call. */
type MakeAttempt<Res> = (channel: Channel, attempt: Attempt) => Promise<Res>;

/** The parts that a Caller is given. */
export interface CallerDeps {
  /** One per endpoint, at least one. The Caller closes them. */
  readonly channels: readonly Channel[];
  /** Rules pauses and the deadline of a call. */
  readonly clock: Clock;
  /**
   * The clock that attempts themselves run on: rules the delay between one that was begun and the next one beside it.
   * @default clock
   */
  readonly attemptClock?: Clock;
  /** A number in [0, 1) for the jitter of pauses. */
  readonly random: () => number;
  /** False: a call ends as soon as no endpoint of a whole round could be connected to. */
  readonly waitForConnection: boolean;
  /**
   * Milliseconds after which a read that has no answer yet is made at a further endpoint beside it; null: never.
   * @default null
   */
  readonly hedgeReadsMs?: number | null;
}

/** Where the next attempt goes. */
interface ReadyChannels {
  readonly usable: readonly Channel[];
  /** Those that were not connected in time. */
  readonly late: readonly { readonly channel: Channel; readonly error: Error }[];
}

/** Most runs of one read side by side. More would only add load where all members are slow. */
const HEDGES_MAX = 3;

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
    const make: MakeAttempt<Res> = (channel, attempt) => channel.unary(method, request, attempt);
    const { hedgeReadsMs = null, channels } = this.deps;
    const isRead = plan.requestId === undefined && !plan.changes;
    if (hedgeReadsMs === null || !isRead || channels.length < 2) return this.run(make, plan);
    return this.hedge(make, plan, hedgeReadsMs);
  }

  /** The same read from several endpoints on, a delay apart: the first answer counts. */
  private async hedge<Res>(make: MakeAttempt<Res>, plan: CallPlan, delayMs: number): Promise<Res> {
    const { clock, channels, attemptClock = clock } = this.deps;
    const end = clock.now() + plan.timeoutMs;
    const first = this.preferred;
    type Result = { readonly answer: Res } | { readonly error: MusterError };
    const starts = channels
      .slice(0, HEDGES_MAX)
      .map((_, i) => async (signal: AbortSignal): Promise<Result> => {
        const forward = (): void => {
          abort.abort();
        };
        const abort = new AbortController();
        for (const source of [signal, plan.signal])
          source?.addEventListener("abort", forward, { once: true });
        if (plan.signal?.aborted === true) forward();
        try {
          const timeoutMs = Math.max(1, end - clock.now());
          return { answer: await this.run(make, { ...plan, timeoutMs, signal: abort.signal }, first + i) };
        } catch (thrown) {
          const error = asMusterError(thrown, plan);
          if (!isRepeatable(error)) throw error;
          return { error };
        } finally {
          for (const source of [signal, plan.signal]) source?.removeEventListener("abort", forward);
        }
      });
    // A run that failed has tried every endpoint until the end: another one would do no better.
    const isGood = (result: Result): boolean => "answer" in result;
    const results = await stagger(starts, { clock: attemptClock, delayMs, isGood, nextOnBad: false });
    const last = results.at(-1);
    if (last !== undefined && "answer" in last) return last.answer;
    const failed = results.flatMap((result) => ("error" in result ? [result.error] : []));
    throw failed.find((error) => error.reason !== undefined) ?? failed[0] ?? new Failures(plan).last;
  }

  /**
   * Runs a call whose attempts are made by `make`.
   *
   * @param first index of the channel to begin with; one past the last is the first again
   * @throws MusterError only
   */
  async run<Res>(make: MakeAttempt<Res>, plan: CallPlan, first = this.preferred): Promise<Res> {
    const abort = new AbortController();
    const cancel = (): void => {
      abort.abort();
    };
    if (plan.signal?.aborted === true) cancel();
    plan.signal?.addEventListener("abort", cancel, { once: true });
    this.inFlight.add(abort);
    try {
      return await this.repeat(make, { ...plan, signal: abort.signal }, first);
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

  private async repeat<Res>(make: MakeAttempt<Res>, plan: CallPlan, first: number): Promise<Res> {
    const { channels, clock } = this.deps;
    const deadline = clock.now() + plan.timeoutMs;
    const failures = new Failures(plan);
    const begin = first % channels.length;
    /** The channels that this round has not tried. */
    let round: readonly Channel[] = [];
    for (let attempt = 0; ;) {
      this.checkOpen(plan);
      const limits = (): Attempt => ({
        timeoutMs: attemptMs(deadline - clock.now(), attempt, channels.length),
        requestId: plan.requestId,
        number: attemptNumber(attempt, plan, failures),
        signal: plan.signal,
      });
      if (round.length === 0) round = [...channels.slice(begin), ...channels.slice(0, begin)];
      const ready = await this.firstReady(round, limits());
      const tried = [...ready.usable, ...ready.late.map(({ channel }) => channel)];
      round = round.filter((channel) => !tried.includes(channel));
      for (const { channel, error } of ready.late)
        failures.add(channel.authority, asMusterError(error, plan));
      for (const channel of ready.usable) {
        this.checkOpen(plan);
        try {
          const response = await make(channel, limits());
          this.preferred = channels.indexOf(channel);
          return response;
        } catch (thrown) {
          const error = asMusterError(thrown, plan);
          this.checkOpen(plan);
          if (!isRepeatable(error)) {
            if (error.reason !== undefined) this.preferred = channels.indexOf(channel);
            if (!failures.isAmbiguous || holdsForEarlierAttempts(error)) throw error;
            failures.add(channel.authority, error);
            throw failures.outcome();
          }
          failures.add(channel.authority, error);
          if (plan.once === true && failures.isAmbiguous) throw failures.outcome();
        }
        attempt++;
      }
      attempt += ready.late.length;
      await this.pause(failures, attempt, deadline, plan);
    }
  }

  /**
   * The channels for the next attempt: the first one that is connected. When none can be: those that failed, whose
   * attempts end at once with the cause, and those that were late.
   */
  private async firstReady(order: readonly Channel[], limits: Attempt): Promise<ReadyChannels> {
    const [first] = order;
    if (first === undefined) throw new MusterError({ code: status.INTERNAL, message: "no endpoints" });
    if (order.length === 1 || first.ready === undefined) return { usable: [first], late: [] };
    const starts = order.map((channel) => async (signal: AbortSignal) => {
      const readiness = (await channel.ready?.({ ...limits, signal })) ?? "connected";
      return { channel, readiness };
    });
    const results = await stagger(starts, {
      clock: this.deps.attemptClock ?? this.deps.clock,
      delayMs: STAGGER_MS,
      isGood: ({ readiness }) => readiness === "connected" || limits.signal?.aborted === true,
      nextOnBad: true,
    });
    const last = results.at(-1);
    if (last?.readiness === "connected") return { usable: [last.channel], late: [] };
    return {
      usable: results.flatMap(({ channel, readiness }) => (readiness === "failed" ? [channel] : [])),
      late: results.flatMap(({ channel, readiness: error }) =>
        error instanceof Error ? [{ channel, error }] : [],
      ),
    };
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

/** @param before attempts made before by this call */
function attemptNumber(before: number, { repeats = false }: CallPlan, failures: Failures): number {
  if (repeats) return before + 2;
  return failures.isAmbiguous ? before + 1 : 1;
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
