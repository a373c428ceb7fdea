/**
 * Whether a failed attempt is repeated, after which pause, and with how much of the caller's time. Pure.
 *
 * Repeating is safe for every call of this client: a read changes nothing, and all attempts of a write carry one
 * request_id, so that the cluster executes it at most once. What is decided here is whether repeating can help.
 */
import { status } from "@grpc/grpc-js";
import type { MusterError } from "./errors";

/** Pause before the second round of endpoints, in milliseconds; doubles with each further round. */
const BACKOFF_INITIAL_MS = 50;
/** Longest pause between rounds: about one election timeout, within which a new leader is usually elected. */
const BACKOFF_MAX_MS = 1000;
/** No attempt is made for less time: a server answers at least 20 ms before the deadline that it receives. */
const ATTEMPT_MIN_MS = 25;
/** The same for a further attempt of a write while it is certain that nothing changed. @see attemptMinMs */
const CERTAIN_ATTEMPT_MIN_MS = 500;
/**
 * Least time of an attempt while other endpoints are untried: longer than two election timeouts, for which a leader
 * may wait before it accepts a change of the configuration.
 */
const ATTEMPT_SHARE_MIN_MS = 2500;

/** Reasons after which the same request can succeed within moments. */
const REPEATABLE_REASONS: ReadonlySet<string> = new Set([
  "NO_LEADER",
  "NO_QUORUM",
  "SERVER_STOPPING",
  "OUTCOME_UNKNOWN",
  "NOT_PROPOSED",
  "TOO_MANY_REQUESTS",
]);

/** Status codes that come from the transport when the service gave no reason. */
const TRANSPORT_CODES: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED, // of one attempt; the deadline of the call ends the loop
  status.CANCELLED, // by the peer; the loop checks the caller's own signal first
]);

/** Whether another attempt can help. */
export function isRepeatable(error: MusterError): boolean {
  if (error.reason !== undefined) {
    // A server newer than this client may have more reasons that mean "not now".
    return REPEATABLE_REASONS.has(error.reason) || error.code === status.UNAVAILABLE;
  }
  // grpc-js reports most resets of a stream as INTERNAL.
  return (
    TRANSPORT_CODES.has(error.code) ||
    (error.code === status.INTERNAL && error.message.includes("RST_STREAM"))
  );
}

/**
 * Whether the change may have been made although the attempt failed. A reason other than OUTCOME_UNKNOWN means that
 * this attempt changed nothing.
 */
export function mayHaveHappened(error: MusterError): boolean {
  return error.reason === undefined ? error.sent : error.reason === "OUTCOME_UNKNOWN";
}

/** Refusals that say nothing of an earlier attempt: its member could take what this one could not. */
const OF_THIS_ATTEMPT: ReadonlySet<string> = new Set([
  "NOT_LEADER",
  "DISK_FULL",
  "INTERNAL",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
]);

/**
 * Whether a final failure also ends the attempts before, which may have been made or be on their way. The members see to
 * it that a refusal by the leader does.
 */
export function holdsForEarlierAttempts({ reason }: MusterError): boolean {
  return reason !== undefined && !OF_THIS_ATTEMPT.has(reason);
}

/**
 * The pause after a failed attempt, in milliseconds: none while the round has untried endpoints, otherwise exponential
 * with jitter. Never shorter than the retry delay of the error.
 * @param attempt attempts made so far, at least 1
 * @param endpoints number of endpoints
 * @param random a number in [0, 1)
 */
export function pauseMs(error: MusterError, attempt: number, endpoints: number, random: number): number {
  const asked = error.retryDelayMs ?? 0;
  if (attempt % endpoints !== 0) return asked;
  const round = Math.min(attempt / endpoints - 1, 30);
  const ceiling = Math.min(BACKOFF_INITIAL_MS * 2 ** round, BACKOFF_MAX_MS);
  return Math.max(asked, (ceiling * (1 + random)) / 2);
}

/** Most random delay before a lost stream resumes, in milliseconds. @see resumeMs */
const RESUME_SPREAD_MS = 100;

/**
 * The pause before a stream that was good resumes, in milliseconds: as pauseMs, but never nothing by rule. All who watch
 * a member lose it at the same moment, and should not arrive at the next one at the same moment.
 */
export function resumeMs(error: MusterError, attempt: number, endpoints: number, random: number): number {
  return Math.max(pauseMs(error, attempt, endpoints, random), RESUME_SPREAD_MS * random);
}

/**
 * The least time, in milliseconds, for which another attempt is made. A write that certainly changed nothing so far
 * needs more: an attempt that is likely to be cut off would replace a clear refusal by an unknown outcome.
 * @param timeoutMs the time of the whole call
 * @param certain whether this is a write and certainly no attempt changed anything
 */
export function attemptMinMs(timeoutMs: number, certain: boolean): number {
  return certain ? Math.max(ATTEMPT_MIN_MS, Math.min(CERTAIN_ATTEMPT_MIN_MS, timeoutMs / 4)) : ATTEMPT_MIN_MS;
}

/**
 * The time of one attempt, in milliseconds. The last endpoint of a round gets all the remaining time. The others leave
 * some for the endpoints after them: a member cut off from the leader answers only when its time is over.
 * @param attempt attempts made before, at least 0
 * @param endpoints number of endpoints
 */
export function attemptMs(remainingMs: number, attempt: number, endpoints: number): number {
  if (attempt % endpoints === endpoints - 1) return remainingMs;
  return Math.min(remainingMs, Math.max(remainingMs / 2, ATTEMPT_SHARE_MIN_MS));
}
