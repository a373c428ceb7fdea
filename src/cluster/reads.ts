/**
 * Reads that see every acknowledged change: here after a confirmed ReadIndex, or at the leader.
 *
 * A read that gets no confirmation in time says which part was missing: a leader, a quorum, or only time.
 */
import { asBuffer } from "../base/bytes";
import { CALL_CANCELLED } from "../base/call";
import type { Call } from "../base/call";
import type { Clock } from "../base/clock";
import { NO_NODE } from "../raft/index";
import type { Read } from "../replica/read_rounds";
import type { Replica } from "../replica/replica";
import { refused } from "../roster/index";
import type { RefusedError } from "../roster/index";
import { RpcError } from "../rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../transport/peer_calls";
import { LeaderAnswers } from "./leader_answers";
import type { Routing } from "./routing";
import type { WaitingRoom } from "./waiting_room";

/**
 * Part of an election timeout after which a read without confirmation says that there is no quorum. That is at least one
 * heartbeat interval, two by default, and a healthy cluster confirms in less; before that only the time was too short.
 */
const ROUND_ELECTIONS = 0.2;

interface OpenRead {
  readonly end: (error: Error) => void;
}

interface ReadsOptions {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly peers: Pick<PeerCalls, "call">;
  readonly routing: Routing;
  /** Bounds the reads that are under way on this member; more are refused with TOO_MANY_REQUESTS. */
  readonly room: WaitingRoom;
  /** How long to wait for a connection to the leader before looking again which member leads, in milliseconds. */
  readonly connectMs: number;
}

export class Reads {
  private readonly open = new Set<OpenRead>();
  private readonly answers = new LeaderAnswers();
  private stopped = false;

  constructor(private readonly options: ReadsOptions) {}

  /** Every read that waits is refused, and those that come. */
  stop(): void {
    this.stopped = true;
    for (const read of [...this.open]) read.end(stopping());
    this.answers.stop();
  }

  /** Settles when everything acknowledged before this call is applied here. @throws RefusedError, CallCancelledError */
  async confirm(call: Call): Promise<void> {
    const { room } = this.options;
    room.enter();
    try {
      await this.confirmed(call);
    } finally {
      room.leave();
    }
  }

  private confirmed(call: Call): Promise<void> {
    const { clock, replica } = this.options;
    if (this.stopped) return Promise.reject(stopping());
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
      const beganMs = clock.now();
      const timer = clock.setTimeout(() => {
        open.end(this.unanswered(read?.confirmed ?? false, beganMs));
      }, call.deadline.remainingMs());
      this.open.add(open);
      read = replica.readIndex(() => {
        leave();
        resolve();
      });
      forget = call.onCancel(() => {
        open.end(CALL_CANCELLED);
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
    const { room } = this.options;
    room.enter();
    try {
      return await this.untilAnswered(call, request, here);
    } finally {
      room.leave();
    }
  }

  private async untilAnswered<Res>(
    call: Call,
    request: () => PeerRequest,
    here: () => Res,
  ): Promise<Res | Buffer> {
    const { replica, routing, clock } = this.options;
    const beganMs = clock.now();
    for (;;) {
      if (call.cancelled) throw CALL_CANCELLED;
      if (this.stopped) throw stopping();
      if (call.deadline.passed) throw this.unanswered(false, beganMs);
      if (!replica.isLeader && !call.mayForward) throw routing.notLeader();
      const found = await (replica.isLeader ? this.here(call, here) : this.ask(call, request));
      if (found !== null) return found.answer;
      await routing.changeOrTick(call);
    }
  }

  /** Null: this member stopped leading while it waited. */
  private async here<Res>(call: Call, read: () => Res): Promise<{ answer: Res } | null> {
    await this.confirmed(call);
    return this.options.replica.isLeader ? { answer: read() } : null;
  }

  /** Null: ask again. A read has no effect, so a lost one may be repeated. */
  private async ask(call: Call, request: () => PeerRequest): Promise<{ answer: Buffer } | null> {
    const { routing, peers, connectMs } = this.options;
    const url = routing.leaderUrl();
    if (url === null) return null;
    const outcome = await this.answers.unlessStopped(peers.call(url, request(), call, connectMs));
    if (outcome.kind === "done") return { answer: asBuffer(outcome.value) };
    if (outcome.kind !== "refused") return null;
    const reason = outcome.error instanceof RpcError ? outcome.error.reason : null;
    if (reason === "NOT_LEADER" || reason === "SERVER_STOPPING") return null;
    throw outcome.error;
  }

  /** @param beganMs when the read began */
  private unanswered(confirmed: boolean, beganMs: number): RefusedError {
    const { replica, clock, connectMs } = this.options;
    if (confirmed) {
      const text = "the read was confirmed, but this member was too far behind to answer before the deadline";
      return refused("NOT_PROPOSED", text);
    }
    const instead = "a serializable read still answers from this member's own roster";
    if (replica.leader === NO_NODE)
      return refused("NO_LEADER", `no leader was found before the deadline; ${instead}`);
    if (clock.now() - beganMs < ROUND_ELECTIONS * connectMs)
      return refused(
        "NOT_PROPOSED",
        "the deadline was too short for a quorum to confirm the read; allow more time",
      );
    return refused("NO_QUORUM", `no quorum confirmed the read before the deadline; ${instead}`);
  }
}

function stopping(): RefusedError {
  return refused("SERVER_STOPPING", "this member is stopping: ask another member");
}
