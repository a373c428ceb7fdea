/**
 * Writes on the member that leads: what is checked before a command reaches the log, and who goes first.
 *
 * Checks here only refuse early: apply decides. A refusal that depends on the roster, and every answer that only
 * validates, is given after a ReadIndex of this term is confirmed and applied, so it is never based on an old roster.
 * Commands that change no configuration are proposed at once, many to one append; membership changes queue, first in
 * first out (conf_change_queue.ts). SPEC section 2, "Writes".
 */
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import type { Decision } from "../roster/index";
import type { ConfChangeQueue } from "./conf_change_queue";
import type { Deadline } from "../base/deadline";
import { refused } from "./errors";
import type { RefusedError } from "./errors";
import type { Node } from "./node";
import type { ProposalOutcome } from "./waiters";
import type { Clock } from "../base/clock";

/** One write as the leader takes it. */
export interface Submission {
  /** Complete: ids and times are chosen. */
  readonly command: RosterCommand;
  readonly validateOnly: boolean;
  readonly deadline: Deadline;
}

/** What became of a write on this member. */
export type SubmitResult =
  | ProposalOutcome
  /** Decided without a new entry: validated, refused early, or a repeat of a remembered request. */
  | { readonly kind: "decided"; readonly decision: Decision }
  /** Refused by this leader for a reason that is not the roster's. */
  | { readonly kind: "refused"; readonly error: RefusedError }
  /** The deadline passed before it was proposed. */
  | { readonly kind: "not-proposed" }
  /** The deadline passed, or the member stops, after it was proposed. */
  | { readonly kind: "undecided" }
  /** The member stops, and it was not proposed. */
  | { readonly kind: "stopping" };

/** A write under way. */
export interface PendingSubmission {
  readonly result: Promise<SubmitResult>;
  /** The caller went away: the write is dropped where it has not been proposed. */
  cancel(): void;
}

const RETRY_DELAY_MS = 1000;

export class Proposals {
  private readonly open = new Set<OpenSubmission>();
  private stopping = false;

  /**
   * @param waitingMax most writes that wait at once; more are refused with TOO_MANY_REQUESTS
   */
  constructor(
    private readonly node: Node,
    private readonly clock: Clock,
    private readonly confChanges: ConfChangeQueue,
    private readonly waitingMax: number,
  ) {}

  submit(submission: Submission, isConfChange: boolean): PendingSubmission {
    const open = new OpenSubmission(submission, this.node, this.clock, (ended) => this.open.delete(ended));
    const refusal = this.admit();
    if (refusal !== null) {
      open.finish(refusal);
      return open;
    }
    this.open.add(open);
    if (isConfChange) open.onDrop(this.confChanges.add(submission, (result) => open.finish(result)));
    else this.submitNormal(open);
    return open;
  }

  /** Refuses what comes, and ends what waits to be proposed. What is in the log goes on until it is settled. */
  stop(): void {
    this.stopping = true;
    for (const open of [...this.open]) if (!open.appended) open.drop({ kind: "stopping" });
  }

  /** Ends what still waits: its outcome is not known. */
  abandon(): void {
    for (const open of [...this.open]) open.drop({ kind: open.appended ? "undecided" : "stopping" });
  }

  get size(): number {
    return this.open.size;
  }

  private admit(): SubmitResult | null {
    if (this.stopping) return { kind: "stopping" };
    if (!this.node.isLeader) return { kind: "not-leader" };
    if (!this.node.hasSpace) {
      return {
        kind: "refused",
        error: refused("DISK_FULL", "the leader's disk is full; free space, then try again"),
      };
    }
    if (this.open.size >= this.waitingMax) {
      const text = `${String(this.waitingMax)} writes wait already; try again later`;
      return { kind: "refused", error: refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS) };
    }
    return null;
  }

  private submitNormal(open: OpenSubmission): void {
    const { command, validateOnly } = open.submission;
    if (!validateOnly && !this.decidesEarly(command)) {
      open.propose();
      return;
    }
    const read = this.node.readIndex(() => {
      const decision = this.node.roster.evaluate(command);
      if (validateOnly || this.decidesEarly(command)) open.finish({ kind: "decided", decision });
      else open.propose();
    });
    open.onDrop(() => {
      read.cancel();
    });
  }

  /** Refusals, and a member that publishes what the roster has already, need no entry. */
  private decidesEarly(command: RosterCommand): boolean {
    const decision = this.node.roster.evaluate(command);
    return !decision.accepted || (command.body?.$case === "publish" && !decision.changed);
  }
}

/** Settled once: by its outcome, its deadline, its caller's going away, or the member's stop. */
class OpenSubmission implements PendingSubmission {
  readonly result: Promise<SubmitResult>;
  private resolve: (result: SubmitResult) => void = () => undefined;
  private done = false;
  private proposed = false;
  private dropHook: () => void = () => undefined;
  private readonly timer;

  constructor(
    readonly submission: Submission,
    private readonly node: Node,
    clock: Clock,
    private readonly ended: (self: OpenSubmission) => void,
  ) {
    this.result = new Promise((resolve) => {
      this.resolve = resolve;
    });
    this.timer = clock.setTimeout(() => {
      this.drop({ kind: this.appended ? "undecided" : "not-proposed" });
    }, submission.deadline.remainingMs());
  }

  /** Whether its entry may be in the log. */
  get appended(): boolean {
    return this.node.waiters.has(this.submission.command.proposalId);
  }

  propose(): void {
    if (this.done) return;
    this.proposed = true;
    this.node.propose(this.submission.command, (outcome) => {
      this.finish(outcome);
    });
  }

  /** What to undo when nobody waits any more. */
  onDrop(hook: () => void): void {
    this.dropHook = hook;
  }

  cancel(): void {
    this.drop({ kind: this.appended ? "undecided" : "not-proposed" });
  }

  /** Ends the wait, and takes back what has not been proposed. */
  drop(result: SubmitResult): void {
    if (this.done) return;
    const { proposalId } = this.submission.command;
    if (this.proposed) this.node.withdraw(proposalId);
    this.node.waiters.forget(proposalId);
    this.dropHook();
    this.finish(result);
  }

  finish(result: SubmitResult): void {
    if (this.done) return;
    this.done = true;
    this.timer.cancel();
    this.ended(this);
    this.resolve(result);
  }
}
