/**
 * Transfers of leadership that callers ask for, at any member: here when this member leads, else by one hop to the
 * leader. A call is answered when another member leads, or refused while the leader of before serves on.
 *
 * A transfer has no entry in the log and no request id. A lost call to a named member is repeated, which does no harm:
 * that member leads already, or is to. A lost call that named nobody is not repeated once the leadership has changed: a
 * second transfer could give it back.
 */
import { asBuffer } from "../base/bytes";
import { CallCancelledError } from "../base/call";
import type { Call } from "../base/call";
import { NO_NODE } from "../raft/index";
import type { NodeId } from "../raft/index";
import type { Replica } from "../replica/replica";
import { refused } from "../roster/index";
import type { MemberRecord, RefusedError, SelectorFields } from "../roster/index";
import { RpcError } from "../rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../transport/peer_calls";
import { transferFailed, transferTarget } from "./leader/transfer";
import { LeaderAnswers } from "./leader_answers";
import type { Reads } from "./reads";
import type { Routing } from "./routing";

interface TransferRequest {
  /** The member that is to lead; null: the most advanced voter in contact. */
  readonly member: SelectorFields | null;
  /** The same request as a call to the leader. */
  forward(): PeerRequest;
}

interface TransfersOptions {
  readonly replica: Replica;
  readonly reads: Pick<Reads, "confirm">;
  readonly peers: Pick<PeerCalls, "call">;
  readonly routing: Routing;
  /** How long to wait for a connection to the leader before looking again which member leads, in milliseconds. */
  readonly connectMs: number;
}

/**
 * Most transfers that wait on this member at once. People and their scripts ask for them, one at a time; more are a
 * mistake.
 */
const WAITING_MAX = 64;
/** When a caller that was refused as one too many should come back, in milliseconds. */
const RETRY_DELAY_MS = 1000;

export class Transfers {
  private waiting = 0;
  private stopped = false;
  readonly answers = new LeaderAnswers();

  constructor(private readonly options: TransfersOptions) {}

  /** This member stops: no call waits any longer. */
  stop(): void {
    this.stopped = true;
    this.answers.stop();
  }

  /**
   * The member that leads now; the leader's own answer comes as the bytes that it sent.
   *
   * @throws RefusedError, RpcError (the leader's own), CallCancelledError
   */
  async execute(request: TransferRequest, call: Call): Promise<MemberRecord | Buffer> {
    if (this.waiting >= WAITING_MAX) {
      const text = `${String(WAITING_MAX)} transfers of leadership wait already; try again later`;
      throw refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS);
    }
    this.waiting++;
    try {
      return await new Transfer(this.options, request, call, this).run();
    } finally {
      this.waiting--;
    }
  }

  get isStopped(): boolean {
    return this.stopped;
  }
}

/** One call under way. */
class Transfer {
  /** The leader that may have begun a transfer for this call; NO_NODE: none has. */
  private begunBy: NodeId = NO_NODE;

  constructor(
    private readonly options: TransfersOptions,
    private readonly request: TransferRequest,
    private readonly call: Call,
    private readonly owner: Transfers,
  ) {}

  async run(): Promise<MemberRecord | Buffer> {
    const { options, call } = this;
    const { replica, routing } = options;
    for (;;) {
      this.check();
      const answer = this.alreadyDone() ?? (await (replica.isLeader ? this.here() : this.ask()));
      if (answer !== null) return answer;
      await routing.changeOrTick(call);
    }
  }

  /** @throws what ends the call now */
  private check(): void {
    const { call, owner, options } = this;
    if (call.cancelled) throw new CallCancelledError();
    const begun = this.begunBy !== NO_NODE;
    if (owner.isStopped) throw begun ? unknownOutcome() : stopping();
    if (call.deadline.passed) {
      if (begun) throw unknownOutcome();
      throw options.replica.leader === NO_NODE ? noLeader() : notBegun();
    }
    if (!options.replica.isLeader && !call.mayForward) {
      throw begun && this.request.member === null ? unknownOutcome() : options.routing.notLeader();
    }
  }

  /** The new leader, when this call named nobody and leadership has changed since an attempt that may have done it. */
  private alreadyDone(): MemberRecord | null {
    const { leader, roster } = this.options.replica;
    if (this.request.member !== null || this.begunBy === NO_NODE) return null;
    return leader === NO_NODE || leader === this.begunBy ? null : roster.member(leader);
  }

  /** At the leader. Null: look again which member that is. */
  private async ask(): Promise<Buffer | null> {
    const { replica, routing, peers, connectMs } = this.options;
    const url = routing.leaderUrl();
    if (url === null) return null;
    const { leader } = replica;
    const outcome = await this.owner.answers.unlessStopped(
      peers.call(url, this.request.forward(), this.call, connectMs),
    );
    switch (outcome.kind) {
      case "done":
        return asBuffer(outcome.value);
      case "retry":
        return null;
      case "unknown":
        this.begunBy = leader;
        return null;
      case "refused": {
        const reason = outcome.error instanceof RpcError ? outcome.error.reason : null;
        if (reason === "NOT_LEADER" || reason === "SERVER_STOPPING") return null;
        throw outcome.error;
      }
    }
  }

  /** Here. Null: this member stopped leading, and the member that is to lead does not lead yet. */
  private async here(): Promise<MemberRecord | null> {
    const { options, call, request } = this;
    const { replica, reads, routing } = options;
    await reads.confirm(call);
    if (!this.leads()) return null;
    const target = transferTarget(replica, request.member);
    if (target.id === replica.id) return target;
    while (this.leads() && ![NO_NODE, target.id].includes(replica.status().leaderTransferee)) {
      this.check();
      await routing.changeOrTick(call);
    }
    if (!this.leads()) return null;
    replica.transferLeader(target.id);
    this.begunBy = replica.id;
    await this.whileLeading(target);
    return this.successor(target);
  }

  /** Settles when this member leads no more. @throws RefusedError TRANSFER_FAILED when it goes on leading */
  private async whileLeading(target: MemberRecord): Promise<void> {
    const { replica, routing } = this.options;
    const { call } = this;
    while (this.leads()) {
      if (replica.status().leaderTransferee !== target.id) {
        const why = "it did not take over within an election timeout; the leader of before goes on";
        throw transferFailed(target, why);
      }
      this.checkBegun(() => {
        // To itself: ends the transfer, so that writes need not wait for one that nobody waits for.
        replica.transferLeader(replica.id);
        return transferFailed(
          target,
          "it did not take over before the deadline; the leader of before goes on",
        );
      });
      await routing.changeOrTick(call);
    }
  }

  /** Waits until a leader is known. Null: it is another one than the caller named. */
  private async successor(target: MemberRecord): Promise<MemberRecord | null> {
    const { replica, routing } = this.options;
    const { call, request } = this;
    while (replica.leader === NO_NODE) {
      this.checkBegun(unknownOutcome);
      await routing.changeOrTick(call);
    }
    if (replica.leader === target.id) return replica.roster.member(target.id) ?? target;
    if (replica.leader === replica.id) {
      throw transferFailed(target, "it was not elected; the leader of before leads again");
    }
    return request.member === null ? replica.roster.member(replica.leader) : null;
  }

  /** Read anew each time: it may change during every wait. */
  private leads(): boolean {
    return this.options.replica.isLeader;
  }

  /** @throws what ends a call whose transfer is under way */
  private checkBegun(late: () => RefusedError): void {
    const { call, owner } = this;
    if (call.cancelled) throw new CallCancelledError();
    if (owner.isStopped) throw unknownOutcome();
    if (call.deadline.passed) throw late();
  }
}

function stopping(): RefusedError {
  return refused("SERVER_STOPPING", "this member is stopping: ask another member");
}

function noLeader(): RefusedError {
  return refused("NO_LEADER", "no leader was found before the deadline; nothing was changed: try again");
}

function notBegun(): RefusedError {
  return refused("NOT_PROPOSED", "the deadline passed before the transfer was begun; nothing was changed");
}

function unknownOutcome(): RefusedError {
  const text =
    "the transfer was begun, and it is not known in time which member leads; look who leads, then repeat it";
  return refused("OUTCOME_UNKNOWN", text);
}
