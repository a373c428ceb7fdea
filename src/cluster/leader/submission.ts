/** A write in the hands of the leader, and what comes of it. */
import type { Deadline } from "../../base/deadline";
import { done, refusedBy, retryBecause } from "../../base/outcome";
import type { Outcome } from "../../base/outcome";
import type { Settle } from "../../replica/waiters";
import { RefusedError } from "../../roster/index";
import type { Decision, MemberRecord, RosterCommand } from "../../roster/index";
import type { QuorumStep } from "./quorum_steps";

/** One write as the leader takes it. */
export interface Submission {
  /** Complete: ids and times are chosen. */
  readonly command: RosterCommand;
  readonly validateOnly: boolean;
  /** Whether an earlier attempt may be in a log or on its way: a refusal is final only once it is remembered. @default false */
  readonly repeats?: boolean;
  /**
   * Members as they were when the leader decided on the change by itself: refused with REVISION_MISMATCH when the role, target
   * or replacement of one is another. Exact for a membership change: only membership changes alter these, and all before it
   * are applied when it is proposed. An expected revision would be exact too, but under constant writes the roster never
   * stands still between a proposal and its apply. @default none
   */
  readonly seen?: readonly MemberRecord[];
  /** Whether what it was decided on holds still, where that is not in the roster. @default it does */
  readonly holds?: () => boolean;
  readonly deadline: Deadline;
}

/** When a caller that was refused as one too many should come back, in milliseconds. */
export const RETRY_DELAY_MS = 1000;

/** A decision that accepts. */
export type Accepted = Extract<Decision, { accepted: true }> & {
  /** Only of a write that validates, and of a membership change. */
  readonly quorumSteps?: readonly QuorumStep[];
};

export type SettleSubmission = (outcome: Outcome<Accepted>) => void;

/** Refusals by apply that are not decisions on the write: nothing is remembered, and another attempt may be taken. */
const NOT_DECIDED: ReadonlyMap<string, number | null> = new Map([
  ["TOO_MANY_REQUESTS", RETRY_DELAY_MS],
  ["NOT_PROPOSED", null],
]);

/**
 * The command with the time of its proposal. Times in the order of the log drive the time by which outcomes are forgotten
 * (roster/request_clock.ts): were they those of the calls, every change that had to wait would set it back, and the next command
 * ahead again by as much.
 */
export function proposedAt(command: RosterCommand, wallMs: number): RosterCommand {
  return command.timeMs === wallMs ? command : { ...command, timeMs: wallMs };
}

/** The roster's decision as an outcome. */
export function decided(decision: Decision): Outcome<Accepted> {
  if (decision.accepted) return done(decision);
  const { refusal } = decision;
  const retryMs = decision.repeated ? undefined : NOT_DECIDED.get(refusal.reason);
  return retryMs === undefined
    ? refusedBy(new RefusedError(refusal))
    : retryBecause(new RefusedError(refusal, retryMs));
}

/** Settles a submission by what became of its proposal. */
export function settleByCommit(settle: SettleSubmission): Settle {
  return (outcome) => {
    // The result of an entry with a roster command is the roster's decision.
    settle(outcome.kind === "done" ? decided(outcome.value.result as Decision) : outcome);
  };
}
