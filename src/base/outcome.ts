/**
 * The outcome of an attempt to change the replicated state: one type for a proposal to the log, a write on the leader,
 * and a call to another member.
 *
 * Invariant: "retry" promises that the attempt is in no log and never will be. Without that promise the outcome is
 * "unknown".
 */
export type Outcome<T> =
  | { readonly kind: "done"; readonly value: T }
  /** Refused finally: another attempt would get the same answer. */
  | { readonly kind: "refused"; readonly error: Error }
  /** The attempt is in no log and never will be: safe to repeat. `because` is null when there is no particular reason. */
  | { readonly kind: "retry"; readonly because: Error | null }
  /** The attempt may be in a log. */
  | { readonly kind: "unknown" };

export function done<T>(value: T): Outcome<T> {
  return { kind: "done", value };
}

export function refusedBy(error: Error): Outcome<never> {
  return { kind: "refused", error };
}

export function retryBecause(because: Error): Outcome<never> {
  return { kind: "retry", because };
}

/** "retry" without a particular reason. */
export const RETRY: Outcome<never> = { kind: "retry", because: null };
export const UNKNOWN: Outcome<never> = { kind: "unknown" };
