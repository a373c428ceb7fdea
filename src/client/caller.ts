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
import { linkedAbort } from "./abort";
import type { LinkedAbort } from "./abort";
import { TIMEOUT_MAX_MS } from "./attempt";
import type { Attempt, Channel, Method } from "./attempt";
import type { Clock } from "./clock";
import { MusterError } from "./errors";
import { asMusterError, Failures, noEndpoints, notServing, streamEnded } from "./failures";
import { attemptMinMs, attemptMs, holdsForEarlierAttempts, isRepeatable, pauseMs, resumeMs } from "./retry";
import { mayServe, Rounds, startingAt } from "./rounds";
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

/**
 * What follows from an error of a stream: "resume" it, for as long as it takes; "elsewhere": this endpoint can't give it,
 * so the stream ends when no endpoint of a round can; "end" it.
 */
export type StreamVerdict = "resume" | "elsewhere" | "end";

/** The settings of one stream that resumes. */
interface StreamPlan<T> {
  /** One attempt. What it yields goes on to the reader of the stream; it throws MusterError. */
  readonly open: (channel: Channel, attempt: Attempt) => AsyncIterable<T>;
  /** Ends the stream with CANCELLED. */
  readonly signal: AbortSignal | undefined;
  readonly judge: (error: MusterError) => StreamVerdict;
  /** An attempt failed, and the stream resumes. @default nothing */
  readonly onLost?: (error: MusterError) => void;
}

/** The parts that a Caller is given. */
export interface CallerDeps {
  /** One per endpoint, at least one; a function where they change. The Caller closes those that there are at the end. */
  readonly channels: readonly Channel[] | (() => readonly Channel[]);
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

/** A stream that lasted so long, in milliseconds, was good: failures before it don't lengthen the next pause. */
const STREAM_GOOD_MS = 5000;
/**
 * How often a stream checks that its member serves, in milliseconds, and up to twice as long by chance. It moves to another
 * endpoint after two checks in a row that say no: an election is over by then, and does not make every watcher of a cluster move.
 */
const SERVING_CHECK_MS = 3000;

/** Runs calls over the endpoints of one cluster. A call starts at the endpoint that answered last. */
export class Caller {
  /** The channel whose member answered last. */
  private preferred: Channel | undefined;
  private closed = false;
  /** One for each call in flight, so that close() can end it. */
  private readonly inFlight = new Set<LinkedAbort>();

  constructor(private readonly deps: CallerDeps) {}

  /** Calls a method with one request and one response. @throws MusterError only */
  call<Req, Res>(method: Method<Req, Res>, request: Req, plan: CallPlan): Promise<Res> {
    const make: MakeAttempt<Res> = (channel, attempt) => channel.unary(method, request, attempt);
    const { hedgeReadsMs = null } = this.deps;
    const isRead = plan.requestId === undefined && !plan.changes;
    if (hedgeReadsMs === null || !isRead) return this.run(make, plan);
    const channels = startingAt(this.channels(), this.preferred).filter(mayServe).slice(0, HEDGES_MAX);
    return channels.length < 2 ? this.run(make, plan) : this.hedge(make, plan, hedgeReadsMs, channels);
  }

  /** The same read from several endpoints on, a delay apart: the first answer counts. */
  private async hedge<Res>(
    make: MakeAttempt<Res>,
    plan: CallPlan,
    delayMs: number,
    channels: readonly Channel[],
  ): Promise<Res> {
    const { clock, attemptClock = clock } = this.deps;
    const end = clock.now() + plan.timeoutMs;
    type Result = { readonly answer: Res } | { readonly error: MusterError };
    const starts = channels.map((channel) => async (signal: AbortSignal): Promise<Result> => {
      const abort = linkedAbort(signal, plan.signal);
      try {
        const timeoutMs = Math.max(1, end - clock.now());
        return { answer: await this.run(make, { ...plan, timeoutMs, signal: abort.signal }, channel) };
      } catch (thrown) {
        const error = asMusterError(thrown, plan);
        if (!isRepeatable(error)) throw error;
        return { error };
      } finally {
        abort.release();
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
   * @param first the channel to begin with; undefined: the first
   * @throws MusterError only
   */
  async run<Res>(make: MakeAttempt<Res>, plan: CallPlan, first = this.preferred): Promise<Res> {
    const abort = linkedAbort(plan.signal);
    this.inFlight.add(abort);
    try {
      return await this.repeat(make, { ...plan, signal: abort.signal }, first);
    } finally {
      this.inFlight.delete(abort);
      abort.release();
    }
  }

  /**
   * Reads a stream without end: where an attempt ends, another one begins, at the next endpoint and with the pauses of a
   * call. Leaving the loop over it ends the call.
   * @throws MusterError that the plan judges as the end, and CANCELLED
   */
  async *stream<T>(plan: StreamPlan<T>): AsyncGenerator<T, void, undefined> {
    const { clock, random } = this.deps;
    const abort = linkedAbort(plan.signal);
    this.inFlight.add(abort);
    const limits = { signal: abort.signal, requestId: undefined };
    const rounds = new Rounds(() => this.channels(), this.preferred);
    /** Endpoints in a row that can't give this stream. */
    let unable = 0;
    let everGood = false;
    try {
      for (;;) {
        const { channel, error: late, passed } = await this.connect(rounds, limits);
        const openedAt = clock.now();
        let items = 0;
        let failure: unknown = late;
        try {
          if (late === undefined) {
            for await (const item of this.whileServing(channel, plan, limits)) {
              if (items++ === 0) this.preferred = channel;
              everGood = true;
              unable = 0;
              yield item;
            }
            failure = streamEnded(channel);
          }
        } catch (thrown) {
          failure = thrown;
        }
        this.checkOpen(limits);
        const error = asMusterError(failure, limits);
        rounds.tried(channel);
        const verdict = this.verdict(plan, error, everGood);
        unable = verdict === "elsewhere" ? unable + 1 + passed : 0;
        if (verdict === "end" || unable >= rounds.endpoints) throw error;
        plan.onLost?.(error);
        const { attempt, endpoints } = rounds;
        const ms =
          items > 0
            ? resumeMs(error, attempt, endpoints, random())
            : pauseMs(error, attempt, endpoints, random());
        if (clock.now() - openedAt >= STREAM_GOOD_MS) rounds.restartAfter(channel);
        if (ms > 0) await clock.sleep(ms, abort.signal);
        this.checkOpen(limits);
      }
    } finally {
      this.inFlight.delete(abort);
      abort.release();
    }
  }

  /** Closes every channel; calls in flight end with CANCELLED. */
  close(): void {
    this.closed = true;
    for (const abort of this.inFlight) abort.abort();
    for (const channel of this.channels()) channel.close();
  }

  private channels(): readonly Channel[] {
    const { channels } = this.deps;
    return typeof channels === "function" ? channels() : channels;
  }

  /**
   * The channel for the next attempt of a stream; with the error when none was connected in time, and the number of others
   * that were not either.
   */
  private async connect(
    rounds: Rounds,
    limits: Pick<Attempt, "signal" | "requestId">,
  ): Promise<{ readonly channel: Channel; readonly error?: Error; readonly passed: number }> {
    this.checkOpen(limits);
    const attempt = { ...limits, timeoutMs: TIMEOUT_MAX_MS, number: 1 };
    const { usable, late } = await this.firstReady(rounds.candidates(), attempt);
    this.checkOpen(limits);
    const [first] = usable;
    if (first !== undefined) return { channel: first, passed: 0 };
    const [latest, ...others] = late;
    if (latest === undefined) throw noEndpoints();
    for (const { channel } of others) rounds.tried(channel);
    return { ...latest, passed: others.length };
  }

  private verdict<T>(plan: StreamPlan<T>, error: MusterError, everGood: boolean): StreamVerdict {
    const verdict = plan.judge(error);
    const impatient = !this.deps.waitForConnection && !everGood && !error.sent;
    return verdict === "resume" && impatient ? "elsewhere" : verdict;
  }

  /** One attempt of a stream; ends with UNAVAILABLE when its member stops to serve and others may go on. */
  private async *whileServing<T>(
    channel: Channel,
    plan: StreamPlan<T>,
    limits: Pick<Attempt, "signal" | "requestId">,
  ): AsyncGenerator<T, void, undefined> {
    const { clock, random, attemptClock = clock } = this.deps;
    const over = new AbortController();
    const leave = linkedAbort(limits.signal);
    const check = async (): Promise<void> => {
      for (let against = 0; against < 2 && !over.signal.aborted;) {
        await attemptClock.sleep(SERVING_CHECK_MS * (1 + random()), over.signal);
        const others = this.channels().some((other) => other !== channel && mayServe(other));
        against = mayServe(channel) || !others ? 0 : against + 1;
      }
      leave.abort();
    };
    if (channel.serving !== undefined) void check();
    try {
      yield* plan.open(channel, { ...limits, signal: leave.signal, timeoutMs: TIMEOUT_MAX_MS, number: 1 });
    } catch (error) {
      // Aborted here and not by the reader: the member does not serve.
      throw leave.signal.aborted && limits.signal?.aborted !== true ? notServing(channel) : error;
    } finally {
      over.abort();
      leave.release();
    }
  }

  private async repeat<Res>(
    make: MakeAttempt<Res>,
    plan: CallPlan,
    first: Channel | undefined,
  ): Promise<Res> {
    const { clock } = this.deps;
    const deadline = clock.now() + plan.timeoutMs;
    const failures = new Failures(plan);
    const rounds = new Rounds(() => this.channels(), first);
    for (;;) {
      this.checkOpen(plan);
      const candidates = rounds.candidates();
      const limits = (): Attempt => ({
        timeoutMs: attemptMs(deadline - clock.now(), rounds.attempt, rounds.endpoints),
        requestId: plan.requestId,
        number: attemptNumber(rounds.made, plan, failures),
        signal: plan.signal,
      });
      const { usable, late } = await this.firstReady(candidates, limits());
      for (const { channel, error } of late) failures.add(channel.authority, asMusterError(error, plan));
      for (const channel of usable) {
        this.checkOpen(plan);
        try {
          const response = await make(channel, limits());
          this.preferred = channel;
          return response;
        } catch (thrown) {
          const error = asMusterError(thrown, plan);
          this.checkOpen(plan);
          if (!isRepeatable(error)) {
            if (error.reason !== undefined) this.preferred = channel;
            if (!failures.isAmbiguous || holdsForEarlierAttempts(error)) throw error;
            failures.add(channel.authority, error);
            throw failures.outcome();
          }
          failures.add(channel.authority, error);
          if (plan.once === true && failures.isAmbiguous) throw failures.outcome();
        }
        rounds.tried(channel);
      }
      for (const { channel } of late) rounds.tried(channel);
      await this.pause(failures, rounds, deadline, plan);
    }
  }

  /**
   * The channels for the next attempt: the first one that is connected. When none can be: those that failed, whose
   * attempts end at once with the cause, and those that were late.
   */
  private async firstReady(order: readonly Channel[], limits: Attempt): Promise<ReadyChannels> {
    const [first] = order;
    if (first === undefined) throw noEndpoints();
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
  private async pause(failures: Failures, rounds: Rounds, deadline: number, plan: CallPlan): Promise<void> {
    const { clock, random, waitForConnection } = this.deps;
    if (!waitForConnection && failures.unsentInARow >= rounds.endpoints) throw failures.outcome();
    const ms = pauseMs(failures.last, rounds.attempt, rounds.endpoints, random());
    const leastMs = attemptMinMs(plan.timeoutMs, plan.changes && !failures.isAmbiguous);
    if (clock.now() + ms > deadline - leastMs) throw failures.outcome();
    if (ms > 0) await clock.sleep(ms, plan.signal);
  }

  private checkOpen(plan: Pick<CallPlan, "signal" | "requestId">): void {
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
