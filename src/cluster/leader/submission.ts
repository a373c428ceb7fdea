/** A write in the hands of the leader, and what comes of it. */
import type { Deadline } from "../../base/deadline";
import { done, refusedBy } from "../../base/outcome";
import type { Outcome } from "../../base/outcome";
import type { Settle } from "../../replica/waiters";
import { RefusedError } from "../../roster/index";
import type { Decision, RosterCommand } from "../../roster/index";

/** One write as the leader takes it. */
export interface Submission {
  /** Complete: ids and times are chosen. */
  readonly command: RosterCommand;
  readonly validateOnly: boolean;
  readonly deadline: Deadline;
}

/** A decision that accepts. */
export type Accepted = Extract<Decision, { accepted: true }>;

export type SettleSubmission = (outcome: Outcome<Accepted>) => void;

/** The roster's decision as an outcome. */
export function decided(decision: Decision): Outcome<Accepted> {
  return decision.accepted ? done(decision) : refusedBy(new RefusedError(decision.refusal));
}

/** Settles a submission by what became of its proposal. */
export function settleByCommit(settle: SettleSubmission): Settle {
  return (outcome) => {
    // The result of an entry with a roster command is the roster's decision.
    settle(outcome.kind === "done" ? decided(outcome.value.result as Decision) : outcome);
  };
}
