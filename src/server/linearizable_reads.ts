/**
 * Reads that see every acknowledged change: here after a confirmed ReadIndex, or at the leader.
 *
 * A read that gets no confirmation in time says which part was missing: a leader, a quorum, or only time.
 */
import { NO_NODE } from "../raft/index";
import { CallCancelledError } from "./call";
import type { CallContext } from "./call";
import { refused } from "./errors";
import type { RefusedError } from "./errors";
import { PassedOnError } from "./forwarder";
import type { Forwarder, Invoke } from "./forwarder";
import type { Node } from "./node";
import type { Read } from "./reads";
import type { Writes } from "./writes";
import type { Clock } from "../base/clock";

const RETRY_DELAY_MS = 1000;

interface OpenRead {
  readonly end: (error: Error) => void;
}

export class LinearizableReads {
  private readonly open = new Set<OpenRead>();
  private stopping = false;

  /**
   * @param waitingMax most reads that wait at once; more are refused with TOO_MANY_REQUESTS
   * @param connectMs how long to wait for a connection to the leader before looking again who leads
   */
  constructor(
    private readonly node: Node,
    private readonly clock: Clock,
    private readonly forwarder: Pick<Forwarder, "call">,
    private readonly writes: Writes,
    private readonly waitingMax: number,
    private readonly connectMs: number,
  ) {}

  /** Every read that waits is refused, and those that come. */
  stop(): void {
    this.stopping = true;
    for (const read of [...this.open]) read.end(stopping());
  }

  /** Settles when everything acknowledged before this call is applied here. @throws RefusedError, CallCancelledError */
  confirm(context: CallContext): Promise<void> {
    if (this.stopping) return Promise.reject(stopping());
    if (this.open.size >= this.waitingMax) {
      const text = `${String(this.waitingMax)} reads wait already; try again later`;
      return Promise.reject(refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS));
    }
    return new Promise((resolve, reject) => {
      let read: Read | null = null;
      const leave = (): void => {
        timer.cancel();
        read?.cancel();
        this.open.delete(open);
      };
      const open: OpenRead = {
        end: (error) => {
          leave();
          reject(error);
        },
      };
      const timer = this.clock.setTimeout(() => {
        open.end(this.unanswered(read?.confirmed ?? false));
      }, context.deadline.remainingMs());
      this.open.add(open);
      context.onCancel(() => {
        open.end(new CallCancelledError());
      });
      read = this.node.readIndex(() => {
        leave();
        resolve();
      });
    });
  }

  /** Answers from the leader's state: here when this member leads, else by one hop to whoever does. */
  async atLeader<Res>(context: CallContext, invoke: Invoke<Res>, here: () => Res): Promise<Res> {
    for (;;) {
      if (context.cancelled) throw new CallCancelledError();
      if (this.stopping) throw stopping();
      if (context.deadline.passed) throw this.unanswered(false);
      if (!this.node.isLeader && !context.mayForward) throw this.writes.notLeader();
      const answer = await (this.node.isLeader ? this.here(context, here) : this.ask(context, invoke));
      if (answer !== null) return answer.response;
      await this.writes.leadershipOrTick(context);
    }
  }

  /** Null: this member stopped leading meanwhile. */
  private async here<Res>(context: CallContext, read: () => Res): Promise<{ response: Res } | null> {
    await this.confirm(context);
    return this.node.isLeader ? { response: read() } : null;
  }

  /** Null: ask again. A read has no effect, so whatever got lost may be repeated. */
  private async ask<Res>(context: CallContext, invoke: Invoke<Res>): Promise<{ response: Res } | null> {
    const { leader, roster } = this.node;
    const url = leader === NO_NODE ? undefined : roster.member(leader)?.peerUrls[0];
    if (url === undefined) return null;
    const result = await this.forwarder.call(url, context, this.connectMs, invoke);
    if (result.kind === "answer") return result;
    if (result.kind !== "error") return null;
    if (result.reason === "NOT_LEADER" || result.reason === "SERVER_STOPPING") return null;
    throw new PassedOnError(result.error, result.reason);
  }

  private unanswered(confirmed: boolean): RefusedError {
    if (confirmed) {
      return refused(
        "NOT_PROPOSED",
        "the read was confirmed, but this member was too far behind to answer before the deadline",
      );
    }
    if (this.node.leader === NO_NODE) {
      const text =
        "no leader was found before the deadline; a serializable read still answers from this member's own roster";
      return refused("NO_LEADER", text);
    }
    const text =
      "no quorum confirmed the read before the deadline; a serializable read still answers from this member's own roster";
    return refused("NO_QUORUM", text);
  }
}

function stopping(): RefusedError {
  return refused("SERVER_STOPPING", "this member is stopping: ask another member");
}
