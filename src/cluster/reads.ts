/**
 * Reads that see every acknowledged change: here after a confirmed ReadIndex, or at the leader.
 *
 * A read that gets no confirmation in time says which part was missing: a leader, a quorum, or only time.
 */
import { asBuffer } from "../base/bytes";
import { CallCancelledError } from "../base/call";
import type { Call } from "../base/call";
import type { Clock } from "../base/clock";
import { UNKNOWN } from "../base/outcome";
import type { Outcome } from "../base/outcome";
import { NO_NODE } from "../raft/index";
import type { Read } from "../replica/read_rounds";
import type { Replica } from "../replica/replica";
import { refused } from "../roster/index";
import type { RefusedError } from "../roster/index";
import { RpcError } from "../rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../transport/peer_calls";
import type { Routing } from "./routing";

/** When a caller that was refused as one too many should come back, in milliseconds. */
const RETRY_DELAY_MS = 1000;

interface OpenRead {
  readonly end: (error: Error) => void;
}

interface ReadsOptions {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly peers: Pick<PeerCalls, "call">;
  readonly routing: Routing;
  /** Most reads that wait at once; more are refused with TOO_MANY_REQUESTS. */
  readonly waitingMax: number;
  /** How long to wait for a connection to the leader before looking again which member leads, in milliseconds. */
  readonly connectMs: number;
}

export class Reads {
  private readonly open = new Set<OpenRead>();
  /** What ends the wait for the leader's answers, for a member that stops. */
  private readonly asked = new Set<() => void>();
  private stopped = false;

  constructor(private readonly options: ReadsOptions) {}

  /** Every read that waits is refused, and those that come. */
  stop(): void {
    this.stopped = true;
    for (const read of [...this.open]) read.end(stopping());
    for (const end of [...this.asked]) end();
  }

  /** Settles when everything acknowledged before this call is applied here. @throws RefusedError, CallCancelledError */
  confirm(call: Call): Promise<void> {
    const { waitingMax, clock, replica } = this.options;
    if (this.stopped) return Promise.reject(stopping());
    if (this.open.size >= waitingMax) {
      const text = `${String(waitingMax)} reads wait already; try again later`;
      return Promise.reject(refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS));
    }
    return new Promise((resolve, reject) => {
      let read: Read | null = null;
      let forget = (): void => undefined;
      const leave = (): void => {
        timer.cancel();
        forget();
        read?.cancel();
        this.open.delete(open);
      };
      const open: OpenRead = {
        end: (error) => {
          leave();
          reject(error);
        },
      };
      const timer = clock.setTimeout(() => {
        open.end(this.unanswered(read?.confirmed ?? false));
      }, call.deadline.remainingMs());
      this.open.add(open);
      read = replica.readIndex(() => {
        leave();
        resolve();
      });
      forget = call.onCancel(() => {
        open.end(new CallCancelledError());
      });
    });
  }

  /**
   * Answers from the leader's state: here when this member leads, else by one hop to the member that does, whose answer
   * comes as the bytes that it sent.
   *
   * @throws RefusedError, RpcError (the leader's own), CallCancelledError
   */
  async atLeader<Res>(call: Call, request: () => PeerRequest, here: () => Res): Promise<Res | Buffer> {
    const { replica, routing } = this.options;
    for (;;) {
      if (call.cancelled) throw new CallCancelledError();
      if (this.stopped) throw stopping();
      if (call.deadline.passed) throw this.unanswered(false);
      if (!replica.isLeader && !call.mayForward) throw routing.notLeader();
      const found = await (replica.isLeader ? this.here(call, here) : this.ask(call, request));
      if (found !== null) return found.answer;
      await routing.changeOrTick(call);
    }
  }

  /** Null: this member stopped leading while it waited. */
  private async here<Res>(call: Call, read: () => Res): Promise<{ answer: Res } | null> {
    await this.confirm(call);
    return this.options.replica.isLeader ? { answer: read() } : null;
  }

  /** Null: ask again. A read has no effect, so a lost one may be repeated. */
  private async ask(call: Call, request: () => PeerRequest): Promise<{ answer: Buffer } | null> {
    const { routing, peers, connectMs } = this.options;
    const url = routing.leaderUrl();
    if (url === null) return null;
    const outcome = await this.unlessStopped(peers.call(url, request(), call, connectMs));
    if (outcome.kind === "done") return { answer: asBuffer(outcome.value) };
    if (outcome.kind !== "refused") return null;
    const reason = outcome.error instanceof RpcError ? outcome.error.reason : null;
    if (reason === "NOT_LEADER" || reason === "SERVER_STOPPING") return null;
    throw outcome.error;
  }

  /** The leader's answer, or "unknown" when this member stops first. */
  private unlessStopped(outcome: Promise<Outcome<Uint8Array>>): Promise<Outcome<Uint8Array>> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        resolve(UNKNOWN);
      };
      this.asked.add(giveUp);
      outcome.then(resolve, reject).finally(() => {
        this.asked.delete(giveUp);
      });
    });
  }

  private unanswered(confirmed: boolean): RefusedError {
    if (confirmed) {
      const text = "the read was confirmed, but this member was too far behind to answer before the deadline";
      return refused("NOT_PROPOSED", text);
    }
    const instead = "a serializable read still answers from this member's own roster";
    return this.options.replica.leader === NO_NODE
      ? refused("NO_LEADER", `no leader was found before the deadline; ${instead}`)
      : refused("NO_QUORUM", `no quorum confirmed the read before the deadline; ${instead}`);
  }
}

function stopping(): RefusedError {
  return refused("SERVER_STOPPING", "this member is stopping: ask another member");
}
