/**
 * One write, from the member that took it to its answer: here when this member leads, else at the leader, again and
 * again with the same request id while leaders come and go, within the caller's deadline.
 *
 * Invariant: UNAVAILABLE and NOT_PROPOSED are answered only when no attempt of this call can have been appended; once
 * one may have been, only its outcome, a refusal that is remembered under the request id, or OUTCOME_UNKNOWN is answered.
 * An attempt that follows one of unknown outcome says so (attempts.ts), and the leader then logs a refusal before it
 * answers with it: the earlier attempt may still arrive, and is refused then.
 */
import { asBuffer } from "../base/bytes";
import { CALL_CANCELLED } from "../base/call";
import type { Call } from "../base/call";
import { RETRY, UNKNOWN, done, refusedBy, retryBecause } from "../base/outcome";
import type { Outcome } from "../base/outcome";
import { NO_NODE } from "../raft/index";
import type { ReplicaView } from "../replica/view";
import { CommandKind, RefusedError, featureNotReady, knowsKind, refused } from "../roster/index";
import type { Feature, RosterCommand } from "../roster/index";
import { RpcError } from "../rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../transport/peer_calls";
import { Attempts } from "./attempts";
import { notProposed, stopping } from "./leader/submissions";
import type { Submissions } from "./leader/submissions";
import type { Accepted } from "./leader/submission";
import { LeaderAnswers } from "./leader_answers";
import type { Routing } from "./routing";
import type { WaitingRoom } from "./waiting_room";

export interface WriteRequest<Res> {
  readonly validateOnly: boolean;
  /** Whether this member drew the request id, because the caller gave none. @default false */
  readonly drewRequestId?: boolean;
  /** What a leader of an older version would not understand in it, and must not be sent. @default nothing */
  readonly feature?: Feature;
  /** The command with ids and times of this attempt. */
  command(): RosterCommand;
  /** The same write as a call to the leader. */
  forward(): PeerRequest;
  answer(decision: Accepted): Res;
}

/** Refusals that say nothing of the roster: another attempt, or another leader, may take the write. */
const TRANSIENT: ReadonlySet<string> = new Set([
  "NOT_LEADER",
  "NO_LEADER",
  "SERVER_STOPPING",
  "TOO_MANY_REQUESTS",
  "DISK_FULL",
  "NOT_PROPOSED",
]);
/** Transient refusals returned at once, not retried until the deadline. */
const RETURNED_AT_ONCE: ReadonlySet<string> = new Set(["TOO_MANY_REQUESTS", "DISK_FULL", "NOT_PROPOSED"]);

interface WritesOptions {
  readonly replica: ReplicaView;
  readonly submissions: Pick<Submissions, "submit">;
  readonly peers: Pick<PeerCalls, "call">;
  readonly routing: Routing;
  /** Bounds the writes that are under way on this member; more are refused with TOO_MANY_REQUESTS. */
  readonly room: WaitingRoom;
  /** How long to wait for a connection to the leader before looking again which member leads, in milliseconds. */
  readonly connectMs: number;
}

export class Writes {
  private stopped = false;
  private readonly answers = new LeaderAnswers();

  constructor(private readonly options: WritesOptions) {}

  /** This member stops: no further attempt is made, and no call waits any longer for an attempt under way. */
  stop(): void {
    this.stopped = true;
    this.answers.stop();
  }

  /**
   * The answer; that of another member comes as the bytes that it sent.
   *
   * @throws RefusedError, RpcError (the leader's own), CallCancelledError
   */
  async execute<Res>(request: WriteRequest<Res>, call: Call): Promise<Res | Buffer> {
    const { room } = this.options;
    room.enter();
    try {
      return await this.untilDecided(request, call);
    } finally {
      room.leave();
    }
  }

  private async untilDecided<Res>(request: WriteRequest<Res>, call: Call): Promise<Res | Buffer> {
    const attempts = new Attempts(call, request.drewRequestId ?? false);
    let lastError: Error | null = null;
    for (;;) {
      if (call.cancelled) throw CALL_CANCELLED;
      if (this.stopped) throw attempts.ambiguous ? outcomeUnknown() : stopping();
      if (call.deadline.passed)
        throw attempts.ambiguous ? outcomeUnknown() : (lastError ?? this.deadlinePassed());
      // Decided by this member alone, so it says nothing of an earlier attempt that a log may have.
      if (!this.options.replica.isLeader && !call.mayForward)
        throw attempts.ambiguous ? outcomeUnknown() : this.options.routing.notLeader();
      attempts.begin(this.options.replica.applied);
      const outcome = await this.attempt(request, attempts, call);
      if (outcome.kind === "done") return outcome.value;
      if (outcome.kind === "refused") {
        if (this.isFinal(outcome.error, request, attempts)) throw outcome.error;
        attempts.ambiguous = true;
      }
      // A dry run that was lost on its way changed nothing.
      else if (outcome.kind === "unknown") attempts.ambiguous ||= !request.validateOnly;
      else if (
        !attempts.ambiguous &&
        !hasGone(call) &&
        outcome.because !== null &&
        isReturnedAtOnce(outcome.because)
      )
        throw outcome.because;
      else lastError = outcome.because;
      await this.options.routing.changeOrTick(call);
    }
  }

  /**
   * Whether no earlier attempt can be done after this refusal. A leader of a version that does not log refusals can't
   * promise it; a malformed request is refused in every attempt.
   */
  private isFinal(error: Error, { validateOnly }: WriteRequest<unknown>, { repeats }: Attempts): boolean {
    if (!repeats || validateOnly || reasonOf(error) === "INVALID_REQUEST") return true;
    return knowsKind(this.options.replica.roster.members(), CommandKind.REFUSE);
  }

  private async attempt<Res>(
    request: WriteRequest<Res>,
    attempts: Attempts,
    call: Call,
  ): Promise<Outcome<Res | Buffer>> {
    const { replica, routing, peers, connectMs } = this.options;
    if (replica.isLeader) return this.attemptHere(request, attempts, call);
    const url = routing.leaderUrl();
    if (url === null) return RETRY;
    const { feature } = request;
    const problem = feature === undefined ? null : this.leaderIsOlder(feature);
    // Of an earlier attempt it says nothing.
    if (problem !== null) return attempts.repeats ? retryBecause(problem) : refusedBy(problem);
    return fromPeer(
      await this.answers.unlessStopped(peers.call(url, request.forward(), attempts.forwarded(), connectMs)),
    );
  }

  private async attemptHere<Res>(
    request: WriteRequest<Res>,
    attempts: Attempts,
    call: Call,
  ): Promise<Outcome<Res>> {
    const { validateOnly } = request;
    const command = attempts.mark(request.command());
    const { repeats } = attempts;
    const pending = this.options.submissions.submit({
      command,
      validateOnly,
      repeats,
      deadline: call.deadline,
    });
    const forget = call.onCancel(() => {
      pending.cancel();
    });
    const outcome = await pending.outcome;
    forget();
    return outcome.kind === "done" ? done(request.answer(outcome.value)) : outcome;
  }

  /** The refusal of a feature that the leader does not know: it would take the call for another one. */
  private leaderIsOlder(feature: Feature): RefusedError | null {
    const { roster, leader } = this.options.replica;
    const record = roster.member(leader);
    if (record === null || featureNotReady([record], feature) === null) return null;
    return featureNotReady(roster.members(), feature);
  }

  private deadlinePassed(): RefusedError {
    return this.options.replica.leader === NO_NODE ? noLeader() : notProposed();
  }
}

/** Whether the caller went away, which may happen during any wait. */
function hasGone({ cancelled }: Call): boolean {
  return cancelled;
}

function reasonOf(error: Error): string | null {
  return error instanceof RefusedError
    ? error.refusal.reason
    : error instanceof RpcError
      ? error.reason
      : null;
}

function isReturnedAtOnce(error: Error): boolean {
  const reason = reasonOf(error);
  return reason !== null && RETURNED_AT_ONCE.has(reason);
}

/** What the leader's answer says about this write. */
function fromPeer(outcome: Outcome<Uint8Array>): Outcome<Buffer> {
  if (outcome.kind === "done") return done(asBuffer(outcome.value));
  if (outcome.kind !== "refused" || !(outcome.error instanceof RpcError)) return outcome;
  const { error } = outcome;
  const { reason } = error;
  if (reason === "OUTCOME_UNKNOWN") return UNKNOWN;
  if (reason === "NOT_LEADER") return RETRY;
  return reason !== null && TRANSIENT.has(reason) ? retryBecause(error) : refusedBy(error);
}

function outcomeUnknown(): RefusedError {
  return refused(
    "OUTCOME_UNKNOWN",
    "the change was proposed, and it is not known in time whether it was committed; repeat it with the same request_id",
  );
}

function noLeader(): RefusedError {
  return refused("NO_LEADER", "no leader was found before the deadline; nothing was changed: try again");
}
