/**
 * Membership changes on the leader: one at a time, first in first out.
 *
 * A change at the head of the queue waits for a confirmed ReadIndex, is looked at by admission.ts, and is proposed once
 * no other change is pending. Where only time is missing it waits within its caller's deadline, and for a few election
 * timeouts at most. Removing or demoting the leader hands leadership over first. The admission is asked again after every
 * wait: what held before it may not hold now.
 */
import { RETRY, refusedBy } from "../../base/outcome";
import { NO_NODE } from "../../raft/index";
import type { NodeId } from "../../raft/index";
import type { Replica } from "../../replica/replica";
import { confChange } from "../../roster/index";
import type { Roster } from "../../roster/index";
import { admit } from "./admission";
import { leavingVoters } from "./change_check";
import { bestSuccessor } from "./handover";
import { ARRIVED } from "./leader_view";
import type { LeaderViews, Progress } from "./leader_view";
import { decided, proposedAt, settleByCommit } from "./submission";
import type { SettleSubmission, Submission } from "./submission";
import type { UrlAnswer } from "./url_check";

/** Asks which member answers at a peer URL. Never rejects: no answer is "nobody". */
type AskUrl = (peerUrl: string) => Promise<UrlAnswer>;

interface ChangeQueueOptions {
  readonly replica: Replica;
  readonly roster: () => Roster;
  readonly views: LeaderViews;
  readonly heartbeatMs: number;
  readonly askUrl: AskUrl;
  /** Milliseconds since 1970. */
  readonly wallNow: () => number;
}

/** What a change at the head of the queue waits for, apart from time. */
type Waiting = "nothing" | "confirmation" | "answer" | "handover";

class QueuedChange {
  waiting: Waiting = "nothing";
  progress: Progress = { ...ARRIVED, letIn: true };
  dropped = false;
  handoverTick = 0;
  successor: NodeId = NO_NODE;
  /** Those that did not take the leadership. */
  readonly tried = new Set<NodeId>();
  /** When its URL was asked for. */
  answeredTick = 0;
  cancelRead: () => void = () => undefined;

  constructor(
    readonly submission: Submission,
    readonly settle: SettleSubmission,
  ) {}
}

export class ChangeQueue {
  private queue: QueuedChange[] = [];
  private pumping = false;

  constructor(private readonly options: ChangeQueueOptions) {
    const { replica } = options;
    replica.listen({
      onLeadership: () => {
        if (!replica.isLeader) this.flush();
      },
      onApplied: () => {
        this.pump();
      },
      onTick: () => {
        this.pump();
      },
    });
  }

  /** Queues one change. Returns what takes it out again. */
  add(submission: Submission, settle: SettleSubmission): () => void {
    const change = new QueuedChange(submission, settle);
    this.queue.push(change);
    this.pump();
    return () => {
      change.dropped = true;
      change.cancelRead();
      this.queue = this.queue.filter((other) => other !== change);
      this.pump();
    };
  }

  /** This member no longer leads: the member that leads now takes the changes that wait. */
  private flush(): void {
    const queue = this.queue;
    this.queue = [];
    for (const change of queue) {
      change.cancelRead();
      change.settle(RETRY);
    }
  }

  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    // Also called by a deadline and by a caller that goes away, outside the replica's loop.
    this.options.replica.guard(() => {
      for (let head = this.queue[0]; head !== undefined && this.advance(head); head = this.queue[0]) {
        this.queue = this.queue.filter((other) => other !== head);
      }
    });
    this.pumping = false;
  }

  /** Takes the head one step on. True when it leaves the queue. */
  private advance(head: QueuedChange): boolean {
    if (head.dropped) return true;
    const { replica } = this.options;
    switch (head.waiting) {
      case "confirmation":
      case "answer":
        return false;
      case "handover":
        if (replica.ticks - head.handoverTick <= replica.electionTicks) return false;
        head.tried.add(head.successor);
        this.resume(head, { failedSuccessor: { id: head.successor, tick: replica.ticks } });
        return this.decide(head);
      case "nothing":
        return this.decide(head);
    }
  }

  private decide(head: QueuedChange): boolean {
    const { replica, views } = this.options;
    const { submission, settle } = head;
    // The pending change is applied first, then this one is looked at.
    if (head.progress.confirmed && !replica.confChangeAllowed) return false;
    // Which member answers at a URL may change while the change waits for something else.
    if (replica.ticks - head.answeredTick > replica.electionTicks)
      this.resume(head, { urlAnswer: "not asked" });
    const admission = admit(submission, views.of(submission, head.progress, this.queue.length));
    switch (admission.kind) {
      case "confirm":
        this.confirm(head);
        return false;
      case "wait":
        this.resume(head, { waitingSinceTick: head.progress.waitingSinceTick ?? replica.ticks });
        return false;
      case "ask url":
        this.askUrl(head, admission.url);
        return false;
      case "hand over":
        return this.handOver(head) ? false : this.decide(head);
      case "decided":
        settle(decided(admission.decision));
        return true;
      case "refused":
      case "turned away":
        settle(refusedBy(admission.error));
        return true;
      case "elsewhere":
        settle(RETRY);
        return true;
      case "ok":
        return this.propose(head);
    }
  }

  private resume(head: QueuedChange, progress: Partial<Progress>): void {
    head.waiting = "nothing";
    head.progress = { ...head.progress, ...progress };
  }

  private confirm(head: QueuedChange): void {
    head.waiting = "confirmation";
    const read = this.options.replica.readIndex(() => {
      this.resume(head, { confirmed: true });
      this.pump();
    });
    head.cancelRead = () => {
      read.cancel();
    };
  }

  private askUrl(head: QueuedChange, url: string): void {
    head.waiting = "answer";
    // Looked at again at the next tick: inside the replica's loop an error ends the member, here it would be lost.
    void this.options.askUrl(url).then((urlAnswer) => {
      head.answeredTick = this.options.replica.ticks;
      this.resume(head, { urlAnswer });
    });
  }

  /** False: there is no member to hand over to, or no time for another attempt. */
  private handOver(head: QueuedChange): boolean {
    const { replica, heartbeatMs, roster } = this.options;
    const attemptMs = 2 * replica.electionTicks * heartbeatMs;
    const isLate = head.tried.size > 0 && head.submission.deadline.remainingMs() < attemptMs;
    // One that stays: another that leaves too would have to hand over again.
    const leaving = leavingVoters(head.submission.command, { roster: roster() });
    const successor = isLate ? null : bestSuccessor(replica, new Set([...head.tried, ...leaving]));
    if (successor === null) {
      this.resume(head, { handoverFailed: true });
      return false;
    }
    head.waiting = "handover";
    head.handoverTick = replica.ticks;
    head.successor = successor;
    replica.transferLeader(successor);
    return true;
  }

  private propose(head: QueuedChange): boolean {
    const { replica, roster, wallNow } = this.options;
    const { submission, settle } = head;
    const command = proposedAt(submission.command, wallNow());
    const change = confChange(roster(), command);
    if (change === null) return false; // looked at again when the next entry is applied
    const result = replica.proposeConfChange(command.proposalId, change, settleByCommit(settle));
    if (result.ok) return true;
    // The core's own reasons to wait: too much is uncommitted, leadership is on its way, another change came first.
    if (["uncommitted-size", "transferring", "refused"].includes(result.reason)) return false;
    settle(RETRY);
    return true;
  }
}
