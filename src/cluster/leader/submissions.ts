/**
 * Writes on the member that leads: from their arrival to their outcome.
 *
 * Commands that change no configuration are proposed at once, many to one append; membership changes queue, first in
 * first out (change_queue.ts). What is checked before is in admission.ts.
 */
import type { Clock } from "../../base/clock";
import { RETRY, UNKNOWN, refusedBy, retryBecause } from "../../base/outcome";
import type { Outcome } from "../../base/outcome";
import type { Replica } from "../../replica/replica";
import { encodeCommand, needsConfChange, refused } from "../../roster/index";
import type { RefusedError } from "../../roster/index";
import { admit } from "./admission";
import type { Admission } from "./admission";
import type { ChangeQueue } from "./change_queue";
import { ARRIVED } from "./leader_view";
import type { LeaderViews, Progress } from "./leader_view";
import { decided, settleByCommit } from "./submission";
import type { Accepted, Submission } from "./submission";

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
}

export class Submissions {
  private readonly open = new Set<OpenSubmission>();
  private stopping = false;

  constructor(private readonly options: SubmissionsOptions) {}

  submit(submission: Submission): PendingSubmission {
    const { replica, clock, changes } = this.options;
    const open = new OpenSubmission(submission, replica, clock, (ended) => this.open.delete(ended));
    if (this.stopping || !replica.isLeader) {
      open.finish(this.stopping ? retryBecause(stopping()) : RETRY);
      return open;
    }
    const admission = this.admit(submission, ARRIVED);
    if (admission.kind === "turned away") {
      open.finish(retryBecause(admission.error));
      return open;
    }
    this.open.add(open);
    if (needsConfChange(submission.command)) {
      const settle = (outcome: Outcome<Accepted>): void => {
        open.finish(outcome);
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

  /** A write that changes no configuration. */
  private advance(open: OpenSubmission, admission: Admission): void {
    const { replica } = this.options;
    const { submission } = open;
    switch (admission.kind) {
      case "ok":
        open.propose();
        return;
      case "decided":
        open.finish(decided(admission.decision));
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
        open.finish(refusedBy(admission.error));
        return;
      case "wait":
      case "ask joiner":
      case "hand over":
        throw new Error(`admission of a write that changes no configuration: ${admission.kind}`);
    }
  }
}

/** Settled once: by its outcome, its deadline, its caller's going away, or the member's stop. */
class OpenSubmission implements PendingSubmission {
  readonly outcome: Promise<Outcome<Accepted>>;
  private resolve: (outcome: Outcome<Accepted>) => void = () => undefined;
  private settled = false;
  private proposed = false;
  private dropHook: () => void = () => undefined;
  private readonly timer;

  constructor(
    readonly submission: Submission,
    private readonly replica: Replica,
    clock: Clock,
    private readonly ended: (self: OpenSubmission) => void,
  ) {
    this.outcome = new Promise((resolve) => {
      this.resolve = resolve;
    });
    this.timer = clock.setTimeout(() => {
      this.cancel();
    }, submission.deadline.remainingMs());
  }

  /** Whether its entry may be in the log. */
  get appended(): boolean {
    return this.replica.isAppended(this.submission.command.proposalId);
  }

  propose(): void {
    if (this.settled) return;
    this.proposed = true;
    const { command } = this.submission;
    const settle = settleByCommit((outcome) => {
      this.finish(outcome);
    });
    this.replica.propose({ id: command.proposalId, data: encodeCommand(command), settle });
  }

  /** What to undo when nobody waits any more. */
  onDrop(hook: () => void): void {
    this.dropHook = hook;
  }

  cancel(): void {
    this.drop(this.appended ? UNKNOWN : retryBecause(notProposed()));
  }

  /** Ends the wait, and takes back what has not been appended. */
  drop(outcome: Outcome<Accepted>): void {
    if (this.settled) return;
    const { proposalId } = this.submission.command;
    if (this.proposed) this.replica.withdraw(proposalId);
    this.replica.forget(proposalId);
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

export function notProposed(): RefusedError {
  return refused("NOT_PROPOSED", "the deadline passed before the change was proposed; nothing was changed");
}

export function stopping(): RefusedError {
  return refused("SERVER_STOPPING", "this member is stopping; nothing was changed: ask another member");
}
