/**
 * Membership changes on the leader: one at a time, first in first out.
 *
 * A change at the head of the queue waits for a confirmed ReadIndex, is decided as apply would decide it now, passes
 * the strict reconfiguration check, and is proposed once no other change is pending. Where only time is missing (voters
 * that have not been in contact for long enough) it waits within its caller's deadline. Removing the leader transfers
 * leadership first. SPEC section 2, "Strict reconfiguration check".
 */
import type { MemberRecord } from "../generated/muster/storage/v1/snapshot";
import { formatId } from "../roster/index";
import type { NodeId } from "../raft/index";
import { refused } from "./errors";
import type { RefusedError } from "./errors";
import type { Node } from "./node";
import type { Submission, SubmitResult } from "./proposals";
import { checkReconfiguration } from "./reconfig_check";
import type { CheckResult, VoterHealth } from "./reconfig_check";

/** Asks whether a member with this name waits to join at this peer URL. Never rejects. */
export type JoinerProbe = (name: string, peerUrl: string) => Promise<boolean>;

type Phase =
  "queued" | "confirming" | "confirmed" | "probing" | "probed" | "transferring" | "transfer-failed";

class QueuedChange {
  phase: Phase = "queued";
  dropped = false;
  transferTick = 0;
  cancelRead: () => void = () => undefined;
  constructor(
    readonly submission: Submission,
    readonly settle: (result: SubmitResult) => void,
  ) {}
}

export class ConfChangeQueue {
  private queue: QueuedChange[] = [];
  private leaderSinceTick = 0;
  private pumping = false;

  constructor(
    private readonly node: Node,
    private readonly heartbeatMs: number,
    private readonly probeJoiner: JoinerProbe,
  ) {
    let wasLeader = false;
    node.listen({
      onLeadership: () => {
        if (node.isLeader && !wasLeader) this.leaderSinceTick = node.ticks;
        wasLeader = node.isLeader;
        if (!node.isLeader) this.flush();
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
  add(submission: Submission, settle: (result: SubmitResult) => void): () => void {
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

  /** This member no longer leads: whoever leads now takes the changes that wait. */
  private flush(): void {
    const queue = this.queue;
    this.queue = [];
    for (const change of queue) {
      change.cancelRead();
      change.settle({ kind: "not-leader" });
    }
  }

  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    try {
      for (let head = this.queue[0]; head !== undefined && this.advance(head); head = this.queue[0]) {
        this.queue = this.queue.filter((other) => other !== head);
      }
    } finally {
      this.pumping = false;
    }
  }

  /** Takes the head one step on. True when it leaves the queue. */
  private advance(head: QueuedChange): boolean {
    if (head.dropped) return true;
    switch (head.phase) {
      case "queued":
        this.confirm(head);
        return false;
      case "confirming":
      case "probing":
        return false;
      case "transferring":
        if (this.node.ticks - head.transferTick <= this.node.electionTicks) return false;
        head.phase = "transfer-failed";
        return this.decide(head);
      case "confirmed":
      case "probed":
      case "transfer-failed":
        return this.decide(head);
    }
  }

  private confirm(head: QueuedChange): void {
    head.phase = "confirming";
    const read = this.node.readIndex(() => {
      head.phase = "confirmed";
      this.pump();
    });
    head.cancelRead = () => {
      read.cancel();
    };
  }

  private decide(head: QueuedChange): boolean {
    const { node } = this;
    if (!node.confChangeAllowed) return false; // the pending change is applied first, then this one is looked at
    const { command, validateOnly } = head.submission;
    const decision = node.roster.evaluate(command);
    if (!decision.accepted || decision.repeated) {
      head.settle({ kind: "decided", decision });
      return true;
    }
    if (head.phase === "confirmed") {
      const verdict = this.strictCheck(head);
      if (verdict === "wait") return false;
      if (verdict !== "ok") {
        head.settle({ kind: "refused", error: verdict });
        return true;
      }
    }
    if (validateOnly) {
      head.settle({ kind: "decided", decision });
      return true;
    }
    if (head.phase !== "transfer-failed" && this.removesSelf(head) && this.beginTransfer(head)) return false;
    return this.propose(head);
  }

  private propose(head: QueuedChange): boolean {
    const result = this.node.proposeConfChange(head.submission.command, head.settle);
    if (result.ok) return true;
    if (result.reason === "uncommitted-size" || result.reason === "transferring") return false;
    if (result.reason === "refused") return false; // a change slipped in before: asked again when it is applied
    head.settle({ kind: "not-leader" });
    return true;
  }

  // --- Strict check -------------------------------------------------------------------------------------------------

  private strictCheck(head: QueuedChange): "ok" | "wait" | RefusedError {
    const { body } = head.submission.command;
    const voters = this.voterHealth();
    switch (body?.$case) {
      case "addMember": {
        if (voters.length === 1) {
          this.probe(head, body.value.name, body.value.peerUrl);
          return "wait";
        }
        return this.verdict(head, this.check(voters, voters.length + 1));
      }
      case "removeMember": {
        const target = this.target(head);
        if (target === null || target.learner) return "ok";
        const remaining = voters.filter((voter) => voter.id !== target.id);
        return this.verdict(head, this.check(remaining, remaining.length));
      }
      default:
        return "ok";
    }
  }

  private check(voters: readonly VoterHealth[], sizeAfter: number): CheckResult {
    return checkReconfiguration(voters, sizeAfter, 2 * this.node.electionTicks);
  }

  private verdict(head: QueuedChange, result: CheckResult): "ok" | "wait" | RefusedError {
    const { electionTicks, ticks } = this.node;
    const remainingTicks = head.submission.deadline.remainingMs() / this.heartbeatMs;
    switch (result.kind) {
      case "ok":
        return "ok";
      case "wait":
        // The caller's deadline would pass first: say so now, with the time to come back.
        return result.ticks < remainingTicks ? "wait" : this.unhealthy(result.blocking, result.ticks);
      case "not-started": {
        // Voters in contact have started and are about to publish themselves.
        const publishing = result.blocking.some((voter) => voter.inContactTicks !== null);
        return publishing && remainingTicks > 1 ? "wait" : notStarted(result.blocking, result.needed);
      }
      case "unhealthy": {
        // A new leader has not had the time to hear from everyone.
        const settling = ticks - this.leaderSinceTick < electionTicks;
        const retryTicks = 2 * electionTicks;
        return settling && remainingTicks > electionTicks
          ? "wait"
          : this.unhealthy(result.blocking, retryTicks);
      }
    }
  }

  private unhealthy(blocking: readonly VoterHealth[], retryTicks: number): RefusedError {
    const text =
      `too few voters would be in contact with the leader after this change; waiting for ${names(blocking)}: ` +
      "bring them back, then try again";
    return refused(
      "UNHEALTHY_CLUSTER",
      text,
      blockingMetadata(blocking),
      Math.ceil(retryTicks * this.heartbeatMs),
    );
  }

  /** A second member makes the quorum two: the change would stop a cluster of one unless that member is there. */
  private probe(head: QueuedChange, name: string, peerUrl: string): void {
    head.phase = "probing";
    void this.probeJoiner(name, peerUrl).then((waiting) => {
      if (head.phase !== "probing" || head.dropped) return;
      if (waiting) {
        head.phase = "probed";
      } else {
        const text =
          `no member named ${name} waits to join at ${peerUrl}; a cluster of one would stop when it is added: ` +
          "start it first with initial-cluster-state existing, then try again";
        const error = refused(
          "UNHEALTHY_CLUSTER",
          text,
          { name, peer_url: peerUrl },
          2 * this.node.electionTicks * this.heartbeatMs,
        );
        head.dropped = true;
        head.settle({ kind: "refused", error });
      }
      this.pump();
    });
  }

  private voterHealth(): VoterHealth[] {
    const { node } = this;
    return node.roster
      .members()
      .filter((member) => !member.learner)
      .map(({ id, name, started }) => {
        const inContactTicks = id === node.id ? Infinity : node.contacts.inContactTicks(id, node.ticks);
        return { id, name, started, inContactTicks };
      });
  }

  // --- Removing the leader ------------------------------------------------------------------------------------------

  private target(head: QueuedChange): MemberRecord | null {
    const { body } = head.submission.command;
    if (body?.$case !== "removeMember") return null;
    const { id, name } = body.value.member ?? { id: 0n, name: "" };
    return id !== 0n ? this.node.roster.member(id) : this.node.roster.memberByName(name);
  }

  private removesSelf(head: QueuedChange): boolean {
    return this.target(head)?.id === this.node.id;
  }

  private beginTransfer(head: QueuedChange): boolean {
    const to = this.bestSuccessor();
    if (to === null) return false;
    head.phase = "transferring";
    head.transferTick = this.node.ticks;
    this.node.transferLeader(to);
    return true;
  }

  /** The voter in contact that has most of the log; null when there is none. */
  bestSuccessor(): NodeId | null {
    const { node } = this;
    let best: { id: NodeId; match: number } | null = null;
    for (const [id, { match, isLearner }] of node.status().progress) {
      if (id === node.id || isLearner || node.contacts.inContactTicks(id, node.ticks) === null) continue;
      if (best === null || match > best.match) best = { id, match };
    }
    return best?.id ?? null;
  }
}

function notStarted(blocking: readonly VoterHealth[], needed: number): RefusedError {
  const text =
    `after this change ${String(needed)} voters must have started, but ${names(blocking)} never did: ` +
    "start or remove them, then try again";
  return refused("NOT_ENOUGH_STARTED_MEMBERS", text, {
    ...blockingMetadata(blocking),
    needed: String(needed),
  });
}

function names(voters: readonly VoterHealth[]): string {
  return voters.length === 0 ? "nobody in particular" : voters.map((voter) => voter.name).join(", ");
}

function blockingMetadata(voters: readonly VoterHealth[]): Record<string, string> {
  return {
    blocking_names: voters.map((voter) => voter.name).join(","),
    blocking_ids: voters.map((voter) => formatId(voter.id)).join(","),
  };
}
