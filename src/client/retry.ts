/**
 * When a failed attempt is repeated, after which pause, and with how much of the caller's time.
 *
 * Repeating is safe for every call here: a read changes nothing, and the attempts of a write carry one
 * request_id, so that the cluster executes it at most once. What remains is whether repeating can help.
 */
import { status } from "@grpc/grpc-js";
import type { MusterError } from "./errors";

/** Pause before the second round of endpoints, in milliseconds; doubles with each round. */
const BACKOFF_INITIAL_MS = 50;
/** Longest pause between rounds: about one election timeout, in which a new leader is usually found. */
const BACKOFF_MAX_MS = 1000;
/** Less time than this is not worth another attempt: servers keep at least 20 ms for the way back. */
const ATTEMPT_MIN_MS = 25;
/** What a write's further attempt needs while it is certain that nothing changed. @see attemptMinMs */
const CERTAIN_ATTEMPT_MIN_MS = 500;
/**
 * The least an attempt gets while other endpoints are untried: longer than two election timeouts, which the
 * leader may wait in the strict reconfiguration check.
 */
const ATTEMPT_SHARE_MIN_MS = 2500;

/** Refusals of the service after which the same request can succeed within moments. */
const REPEATABLE_REASONS: ReadonlySet<string> = new Set([
  "NO_LEADER",
  "NO_QUORUM",
  "SERVER_STOPPING",
  "OUTCOME_UNKNOWN",
  "NOT_PROPOSED",
  "TOO_MANY_REQUESTS",
]);

/** Status codes that, without a reason of the service, come from the transport. */
const TRANSPORT_CODES: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED, // of the attempt: the loop ends by itself when it was the caller's
  status.CANCELLED, // by the peer: the caller's own cancellation is handled before
]);

/** Whether another attempt can help. */
export function isRepeatable(error: MusterError): boolean {
  if (error.reason !== undefined) {
    // A server newer than this client may have more reasons that mean "not now".
    return REPEATABLE_REASONS.has(error.reason) || error.code === status.UNAVAILABLE;
  }
  // A stream that was reset: grpc-js reports most of these as INTERNAL.
  return (
    TRANSPORT_CODES.has(error.code) ||
    (error.code === status.INTERNAL && error.message.includes("RST_STREAM"))
  );
}

/**
 * Whether the change may have been made although the attempt failed. The service says which: all its refusals
 * but OUTCOME_UNKNOWN mean that this attempt changed nothing.
 */
export function mayHaveHappened(error: MusterError): boolean {
  return error.reason === undefined ? error.sent : error.reason === "OUTCOME_UNKNOWN";
}

/**
 * The pause after a failed attempt: none while the round has endpoints that were not asked, else exponential
 * with jitter, and never shorter than the server asked for.
 * @param attempt attempts made so far, from 1
 * @param random a number in [0, 1)
 */
export function pauseMs(error: MusterError, attempt: number, endpoints: number, random: number): number {
  const asked = error.retryDelayMs ?? 0;
  if (attempt % endpoints !== 0) return asked;
  const round = Math.min(attempt / endpoints - 1, 30);
  const ceiling = Math.min(BACKOFF_INITIAL_MS * 2 ** round, BACKOFF_MAX_MS);
  return Math.max(asked, (ceiling * (1 + random)) / 2);
}

/**
 * The least time for which another attempt is made. A write that certainly changed nothing so far is not put
 * at stake for an attempt that is likely to be cut off: a clear refusal is worth more than an unknown
 * outcome.
 * @param certain whether this is a write of which it is certain that no attempt changed anything
 */
export function attemptMinMs(timeoutMs: number, certain: boolean): number {
  return certain ? Math.max(ATTEMPT_MIN_MS, Math.min(CERTAIN_ATTEMPT_MIN_MS, timeoutMs / 4)) : ATTEMPT_MIN_MS;
}

/**
 * How much of the remaining time one attempt gets. The last endpoint of a round gets all; the others leave
 * time for those after them, for a member cut off from the leader answers only when its time is over.
 * @param attempt attempts made before, from 0
 */
export function attemptMs(remainingMs: number, attempt: number, endpoints: number): number {
  if (attempt % endpoints === endpoints - 1) return remainingMs;
  return Math.min(remainingMs, Math.max(remainingMs / 2, ATTEMPT_SHARE_MIN_MS));
}
