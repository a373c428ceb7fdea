/**
 * Writes on the member that leads: from their arrival to their outcome.
 *
 * Commands that change no configuration are proposed at once, many to one append; membership changes queue, first in
 * first out (change_queue.ts). What is checked before is in admission.ts. A refusal that no log has, of a write of which
 * an earlier attempt may still be on its way, is logged under the request id before it is answered.
 */
import type { Clock } from "../../base/clock";
import { RETRY, UNKNOWN, refusedBy, retryBecause } from "../../base/outcome";
import type { Outcome } from "../../base/outcome";
import type { Replica } from "../../replica/replica";
import {
  COMMAND_BYTES_MAX,
  CommandKind,
  RefusedError,
  encodeCommand,
  knowsKind,
  needsConfChange,
  refuseCommand,
  refuseInvalid,
  refused,
} from "../../roster/index";
import type { Refusal, Roster, RosterCommand } from "../../roster/index";
import { admit } from "./admission";
import type { Admission } from "./admission";
import type { ChangeQueue } from "./change_queue";
import { ARRIVED } from "./leader_view";
import type { LeaderViews, Progress } from "./leader_view";
import { decided, proposedAt, settleByCommit } from "./submission";
import type { Accepted, SettleSubmission, Submission } from "./submission";

/** A write under way. */
export interface PendingSubmission {
  readonly outcome: Promise<Outcome<Accepted>>;
  /** The caller went away: the write is dropped where it has not been appended. */
  cancel(): void;
}

interface SubmissionsOptions {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly views: LeaderViews;
  readonly changes: ChangeQueue;
  readonly roster: () => Roster;
  /** Milliseconds since 1970. */
  readonly wallNow: () => number;
}

export class Submissions {
  private readonly open = new Set<OpenSubmission>();
  private stopping = false;

  constructor(private readonly options: SubmissionsOptions) {}

  submit(submission: Submission): PendingSubmission {
    const { changes, replica } = this.options;
    const open = new OpenSubmission(submission, this.options, (ended) => this.open.delete(ended));
    if (this.stopping || !replica.isLeader) {
      open.finish(this.stopping ? retryBecause(stopping()) : RETRY);
      return open;
    }
    if (open.data.length > COMMAND_BYTES_MAX) {
      open.finish(refusedBy(tooLarge(open.data.length)));
      return open;
    }
    const admission = this.admit(submission, ARRIVED);
    if (admission.kind === "elsewhere") {
      open.finish(RETRY);
      return open;
    }
    if (admission.kind === "turned away") {
      open.finish(retryBecause(admission.error));
      return open;
    }
    this.open.add(open);
    if (needsConfChange(submission.command)) {
      const settle = (outcome: Outcome<Accepted>): void => {
        this.end(open, outcome);
      };
      open.onDrop(changes.add(submission, settle));
    } else {
      this.advance(open, admission);
    }
    return open;
  }

  /** Refuses what comes, and ends what waits to be appended. What is in the log goes on until it is settled. */
  stop(): void {
    this.stopping = true;
    for (const open of [...this.open]) if (!open.appended) open.drop(retryBecause(stopping()));
  }

  /** Ends what still waits: its outcome is not known. */
  abandon(): void {
    for (const open of [...this.open]) open.drop(open.appended ? UNKNOWN : retryBecause(stopping()));
  }

  get size(): number {
    return this.open.size;
  }

  private admit(submission: Submission, progress: Progress): Admission {
    return admit(submission, this.options.views.of(submission, progress, this.open.size));
  }

  /** Answers, unless the answer is a refusal that a late attempt could prove wrong: that one is logged first. */
  private end(open: OpenSubmission, outcome: Outcome<Accepted>): void {
    const { submission } = open;
    const roster = this.options.roster();
    const refusal = unfenced(submission, outcome, roster);
    if (refusal === null) open.finish(outcome);
    // A member of an older version would stop at such a command.
    else if (!knowsKind(roster.members(), CommandKind.REFUSE)) open.finish(UNKNOWN);
    else {
      const { command } = submission;
      open.propose(refuseCommand(command, command.proposalId, refusal), (settled) => {
        open.finish(settled);
      });
    }
  }

  /** A write that changes no configuration. */
  private advance(open: OpenSubmission, admission: Admission): void {
    const { replica } = this.options;
    const { submission } = open;
    switch (admission.kind) {
      case "ok":
        open.propose(open.submission.command, (outcome) => {
          this.end(open, outcome);
        });
        return;
      case "decided":
        this.end(open, decided(admission.decision));
        return;
      case "confirm": {
        const read = replica.readIndex(() => {
          this.advance(open, this.admit(submission, { ...ARRIVED, letIn: true, confirmed: true }));
        });
        open.onDrop(() => {
          read.cancel();
        });
        return;
      }
      case "refused":
      case "turned away":
        this.end(open, refusedBy(admission.error));
        return;
      case "wait":
      case "ask url":
      case "elsewhere":
      case "hand over":
        throw new Error(`admission of a write that changes no configuration: ${admission.kind}`);
    }
  }
}

/** The refusal in an outcome that must not be answered before it is remembered; null when there is none. */
function unfenced(
  { command, validateOnly, repeats = false }: Submission,
  outcome: Outcome<Accepted>,
  roster: Roster,
): Refusal | null {
  if (!repeats || validateOnly || outcome.kind !== "refused" || command.requestId === "") return null;
  if (!(outcome.error instanceof RefusedError)) return null;
  // Apply refused it, or refused an earlier attempt.
  return roster.outcome(command.requestId) === null ? outcome.error.refusal : null;
}

/** Settled once: by its outcome, its deadline, its caller's going away, or the member's stop. */
class OpenSubmission implements PendingSubmission {
  readonly outcome: Promise<Outcome<Accepted>>;
  private resolve: (outcome: Outcome<Accepted>) => void = () => undefined;
  private settled = false;
  private proposed = false;
  private dropHook: () => void = () => undefined;
  private readonly timer;
  /** The encoded command. */
  readonly data: Uint8Array;

  constructor(
    readonly submission: Submission,
    private readonly options: Pick<SubmissionsOptions, "replica" | "clock" | "wallNow">,
    private readonly ended: (self: OpenSubmission) => void,
  ) {
    this.outcome = new Promise((resolve) => {
      this.resolve = resolve;
    });
    this.data = encodeCommand(submission.command);
    this.timer = options.clock.setTimeout(() => {
      this.drop(this.appended ? UNKNOWN : retryBecause(notProposed()));
    }, submission.deadline.remainingMs());
  }

  /** Whether its entry may be in the log. */
  get appended(): boolean {
    return this.options.replica.isAppended(this.submission.command.proposalId);
  }

  propose(command: RosterCommand, settle: SettleSubmission): void {
    if (this.settled) return;
    this.proposed = true;
    const { replica, wallNow } = this.options;
    const stamped = proposedAt(command, wallNow());
    const data = stamped === this.submission.command ? this.data : encodeCommand(stamped);
    replica.propose({ id: command.proposalId, data, settle: settleByCommit(settle) });
  }

  /** What to undo when nobody waits any more. */
  onDrop(hook: () => void): void {
    this.dropHook = hook;
  }

  cancel(): void {
    this.drop(this.appended ? UNKNOWN : RETRY);
  }

  /** Ends the wait, and takes back what has not been appended. */
  drop(outcome: Outcome<Accepted>): void {
    if (this.settled) return;
    const { proposalId } = this.submission.command;
    const { replica } = this.options;
    if (this.proposed) replica.withdraw(proposalId);
    replica.forget(proposalId);
    this.dropHook();
    this.finish(outcome);
  }

  finish(outcome: Outcome<Accepted>): void {
    if (this.settled) return;
    this.settled = true;
    this.timer.cancel();
    this.ended(this);
    this.resolve(outcome);
  }
}

function tooLarge(bytes: number): RefusedError {
  const description = `has ${bytes} bytes as a log entry, and at most ${COMMAND_BYTES_MAX} can be proposed: make it smaller`;
  return new RefusedError(refuseInvalid([{ field: "request", description }]));
}

export function notProposed(): RefusedError {
  return refused("NOT_PROPOSED", "the deadline passed before the change was proposed; nothing was changed");
}

export function stopping(): RefusedError {
  return refused("SERVER_STOPPING", "this member is stopping; nothing was changed: ask another member");
}
