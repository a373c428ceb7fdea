/**
 * One write, from the member that took it to its answer: here when this member leads, else at the leader, again and
 * again with the same request id while leaders come and go, within the caller's deadline.
 *
 * Invariant: UNAVAILABLE and NOT_PROPOSED are answered only when no attempt of this call can have been appended; once
 * one may have been, only its outcome, a refusal that a leader confirmed, or OUTCOME_UNKNOWN is answered. A refusal is
 * final even then: the leader that gave it had confirmed its term, so an attempt that its log does not have can't be
 * committed any more. SPEC section 2, "Forwarding" and "Deadlines".
 */
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import { formatId } from "../roster/index";
import type { Decision } from "../roster/index";
import { NO_NODE } from "../raft/index";
import { CallCancelledError } from "./call";
import type { CallContext } from "./call";
import { RefusedError, refused } from "./errors";
import { PassedOnError } from "./forwarder";
import type { ForwardResult, Forwarder, Invoke } from "./forwarder";
import type { Node } from "./node";
import type { Proposals, SubmitResult } from "./proposals";

/** A decision that accepts. */
export type Accepted = Extract<Decision, { accepted: true }>;

export interface WriteRequest<Res> {
  readonly isConfChange: boolean;
  readonly validateOnly: boolean;
  /** The command with ids and times of this attempt. */
  readonly command: () => RosterCommand;
  readonly forward: Invoke<Res>;
  readonly answer: (decision: Accepted) => Res;
}

/** An attempt ended: with the answer, or with what it says about trying again. */
type Attempt<Res> =
  | { readonly kind: "answer"; readonly response: Res }
  | { readonly kind: "final"; readonly error: Error }
  /** Try again; the log of nobody has it. */
  | { readonly kind: "not-appended"; readonly error: Error | null }
  /** Try again; it may be in a log. */
  | { readonly kind: "unknown" };

/** Refusals that say nothing of the roster: another attempt, or another leader, may take the write. */
const TRANSIENT: ReadonlySet<string> = new Set([
  "NOT_LEADER",
  "NO_LEADER",
  "SERVER_STOPPING",
  "TOO_MANY_REQUESTS",
  "DISK_FULL",
  "NOT_PROPOSED",
]);
/** Of these, the ones the caller should rather hear at once than wait for another leader. */
const TOLD_AT_ONCE: ReadonlySet<string> = new Set(["TOO_MANY_REQUESTS", "DISK_FULL", "NOT_PROPOSED"]);

export class Writes {
  private stopping = false;
  /** What ends the waiting of attempts under way, for a member that stops. */
  private readonly endings = new Set<() => void>();

  constructor(
    private readonly node: Node,
    private readonly proposals: Proposals,
    private readonly forwarder: Pick<Forwarder, "call">,
    private readonly connectMs: number,
  ) {}

  /** This member stops: no further attempt is made, and nobody waits any longer for an attempt under way. */
  stop(): void {
    this.stopping = true;
    for (const end of [...this.endings]) end();
  }

  /** @throws RefusedError, PassedOnError, CallCancelledError */
  async execute<Res>(request: WriteRequest<Res>, context: CallContext): Promise<Res> {
    let unknown = false;
    let lastError: Error | null = null;
    for (;;) {
      if (context.cancelled) throw new CallCancelledError();
      if (this.stopping) throw unknown ? outcomeUnknown() : stopping();
      if (context.deadline.passed) throw unknown ? outcomeUnknown() : (lastError ?? this.deadlinePassed());
      const attempt = await this.attempt(request, context);
      if (attempt.kind === "answer") return attempt.response;
      if (attempt.kind === "final") throw attempt.error;
      // A dry run that was lost on its way changed nothing.
      if (attempt.kind === "unknown") unknown ||= !request.validateOnly;
      else if (attempt.error !== null && !unknown && isToldAtOnce(attempt.error)) throw attempt.error;
      else lastError = attempt.error;
      await this.leadershipOrTick(context);
    }
  }

  private async attempt<Res>(request: WriteRequest<Res>, context: CallContext): Promise<Attempt<Res>> {
    const { node } = this;
    if (node.isLeader) return this.attemptHere(request, context);
    if (!context.mayForward) return { kind: "final", error: this.notLeader() };
    const url = node.leader === NO_NODE ? undefined : node.roster.member(node.leader)?.peerUrls[0];
    if (url === undefined || node.leader === node.id) return { kind: "not-appended", error: null };
    return fromForward(
      await this.unlessStopped(this.forwarder.call(url, context, this.connectMs, request.forward)),
    );
  }

  private unlessStopped<Res>(call: Promise<ForwardResult<Res>>): Promise<ForwardResult<Res>> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        resolve({ kind: "lost" });
      };
      this.endings.add(giveUp);
      const leave = (): void => {
        this.endings.delete(giveUp);
      };
      call.then(resolve, reject);
      call.then(leave, leave);
    });
  }

  private async attemptHere<Res>(request: WriteRequest<Res>, context: CallContext): Promise<Attempt<Res>> {
    const { validateOnly, isConfChange } = request;
    const pending = this.proposals.submit(
      { command: request.command(), validateOnly, deadline: context.deadline },
      isConfChange,
    );
    context.onCancel(() => {
      pending.cancel();
    });
    return this.fromSubmit(await pending.result, request);
  }

  private fromSubmit<Res>(result: SubmitResult, request: WriteRequest<Res>): Attempt<Res> {
    switch (result.kind) {
      case "applied":
      case "decided":
        return result.decision.accepted
          ? { kind: "answer", response: request.answer(result.decision) }
          : { kind: "final", error: new RefusedError(result.decision.refusal) };
      case "refused":
        return TRANSIENT.has(result.error.refusal.reason)
          ? { kind: "not-appended", error: result.error }
          : { kind: "final", error: result.error };
      case "not-committed":
      case "not-leader":
        return { kind: "not-appended", error: null };
      case "not-proposed":
        return { kind: "not-appended", error: notProposed() };
      case "stopping":
        return { kind: "not-appended", error: stopping() };
      case "unknown":
      case "undecided":
        return { kind: "unknown" };
    }
  }

  /**
   * Waits for the leadership to change, or for a tick: nothing else makes another attempt worth while. A tick may be
   * longer than what is left before the caller must have its answer, so the deadline ends the wait too.
   */
  leadershipOrTick(context: CallContext): Promise<void> {
    return new Promise((resolve) => {
      const { endings } = this;
      const stop = this.node.listen({ onLeadership: done, onTick: done });
      const timer = context.deadline.onPassed(done);
      endings.add(done);
      // Last: it calls back at once when the caller has gone away already.
      context.onCancel(done);
      function done(): void {
        endings.delete(done);
        stop();
        timer.cancel();
        resolve();
      }
    });
  }

  private deadlinePassed(): RefusedError {
    return this.node.leader === NO_NODE ? noLeader() : notProposed();
  }

  /** What a member that does not lead answers to a caller that forbade forwarding. */
  notLeader(): RefusedError {
    const { leader, roster } = this.node;
    if (leader === NO_NODE || leader === this.node.id) {
      return refused("NOT_LEADER", "this member does not lead, and knows no leader now; ask another member");
    }
    const member = roster.member(leader);
    const id = formatId(leader);
    return refused("NOT_LEADER", `this member does not lead; ${member?.name ?? id} (${id}) does: ask it`, {
      leader_id: id,
      leader_admin_url: member?.adminUrls[0] ?? "",
      leader_peer_url: member?.peerUrls[0] ?? "",
    });
  }
}

function isToldAtOnce(error: Error): boolean {
  return error instanceof RefusedError
    ? TOLD_AT_ONCE.has(error.refusal.reason)
    : error instanceof PassedOnError && error.reason !== null && TOLD_AT_ONCE.has(error.reason);
}

function fromForward<Res>(result: ForwardResult<Res>): Attempt<Res> {
  switch (result.kind) {
    case "answer":
      return { kind: "answer", response: result.response };
    case "lost":
      return { kind: "unknown" };
    case "not-sent":
      return { kind: "not-appended", error: null };
    case "error": {
      if (result.reason === "OUTCOME_UNKNOWN") return { kind: "unknown" };
      const error = new PassedOnError(result.error, result.reason);
      if (result.reason === "NOT_LEADER") return { kind: "not-appended", error: null };
      return result.reason !== null && TRANSIENT.has(result.reason)
        ? { kind: "not-appended", error }
        : { kind: "final", error };
    }
  }
}

function outcomeUnknown(): RefusedError {
  return refused(
    "OUTCOME_UNKNOWN",
    "the change was proposed, and it is not known in time whether it was committed; repeat it with the same request_id",
  );
}

function notProposed(): RefusedError {
  return refused("NOT_PROPOSED", "the deadline passed before the change was proposed; nothing was changed");
}

function stopping(): RefusedError {
  return refused("SERVER_STOPPING", "this member is stopping; nothing was changed: ask another member");
}

function noLeader(): RefusedError {
  return refused("NO_LEADER", "no leader was found before the deadline; nothing was changed: try again");
}
