/**
 * One write, from the member that took it to its answer: here when this member leads, else at the leader, again and
 * again with the same request id while leaders come and go, within the caller's deadline.
 *
 * Invariant: UNAVAILABLE and NOT_PROPOSED are answered only when no attempt of this call can have been appended; once
 * one may have been, only its outcome, a refusal that a leader confirmed, or OUTCOME_UNKNOWN is answered. A refusal is
 * final even then: the leader that gave it had confirmed its term, so an attempt that its log does not have can't be
 * committed any more.
 */
import { asBuffer } from "../base/bytes";
import { CallCancelledError } from "../base/call";
import type { Call } from "../base/call";
import { RETRY, UNKNOWN, done, refusedBy, retryBecause } from "../base/outcome";
import type { Outcome } from "../base/outcome";
import { NO_NODE } from "../raft/index";
import type { ReplicaView } from "../replica/view";
import { RefusedError, refused } from "../roster/index";
import type { RosterCommand } from "../roster/index";
import { RpcError } from "../rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../transport/peer_calls";
import { notProposed, stopping } from "./leader/submissions";
import type { Submissions } from "./leader/submissions";
import type { Accepted } from "./leader/submission";
import type { Routing } from "./routing";

export interface WriteRequest<Res> {
  readonly validateOnly: boolean;
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
  /** How long to wait for a connection to the leader before looking again which member leads, in milliseconds. */
  readonly connectMs: number;
}

export class Writes {
  private stopped = false;
  /** What ends the wait for forwarded calls, for a member that stops. */
  private readonly endings = new Set<() => void>();

  constructor(private readonly options: WritesOptions) {}

  /** This member stops: no further attempt is made, and no call waits any longer for an attempt under way. */
  stop(): void {
    this.stopped = true;
    for (const end of [...this.endings]) end();
  }

  /**
   * The answer; that of another member comes as the bytes that it sent.
   *
   * @throws RefusedError, RpcError (the leader's own), CallCancelledError
   */
  async execute<Res>(request: WriteRequest<Res>, call: Call): Promise<Res | Buffer> {
    let unknown = false;
    let lastError: Error | null = null;
    for (;;) {
      if (call.cancelled) throw new CallCancelledError();
      if (this.stopped) throw unknown ? outcomeUnknown() : stopping();
      if (call.deadline.passed) throw unknown ? outcomeUnknown() : (lastError ?? this.deadlinePassed());
      // Decided by this member alone, so it says nothing of an earlier attempt that a log may have.
      if (!this.options.replica.isLeader && !call.mayForward)
        throw unknown ? outcomeUnknown() : this.options.routing.notLeader();
      const outcome = await this.attempt(request, call);
      if (outcome.kind === "done") return outcome.value;
      if (outcome.kind === "refused") throw outcome.error;
      // A dry run that was lost on its way changed nothing.
      if (outcome.kind === "unknown") unknown ||= !request.validateOnly;
      else if (!unknown && !hasGone(call) && outcome.because !== null && isReturnedAtOnce(outcome.because))
        throw outcome.because;
      else lastError = outcome.because;
      await this.options.routing.changeOrTick(call);
    }
  }

  private async attempt<Res>(request: WriteRequest<Res>, call: Call): Promise<Outcome<Res | Buffer>> {
    const { replica, routing, peers, connectMs } = this.options;
    if (replica.isLeader) return this.attemptHere(request, call);
    const url = routing.leaderUrl();
    if (url === null) return RETRY;
    return fromPeer(await this.unlessStopped(peers.call(url, request.forward(), call, connectMs)));
  }

  private async attemptHere<Res>(request: WriteRequest<Res>, call: Call): Promise<Outcome<Res>> {
    const { validateOnly } = request;
    const command = request.command();
    const pending = this.options.submissions.submit({ command, validateOnly, deadline: call.deadline });
    const forget = call.onCancel(() => {
      pending.cancel();
    });
    const outcome = await pending.outcome;
    forget();
    return outcome.kind === "done" ? done(request.answer(outcome.value)) : outcome;
  }

  /** The leader's answer, or "unknown" when this member stops first. */
  private unlessStopped(outcome: Promise<Outcome<Uint8Array>>): Promise<Outcome<Uint8Array>> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        resolve(UNKNOWN);
      };
      this.endings.add(giveUp);
      outcome.then(resolve, reject).finally(() => {
        this.endings.delete(giveUp);
      });
    });
  }

  private deadlinePassed(): RefusedError {
    return this.options.replica.leader === NO_NODE ? noLeader() : notProposed();
  }
}

/** Whether the caller went away, which may happen during any wait. */
function hasGone({ cancelled }: Call): boolean {
  return cancelled;
}

function isReturnedAtOnce(error: Error): boolean {
  const reason =
    error instanceof RefusedError ? error.refusal.reason : error instanceof RpcError ? error.reason : null;
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
