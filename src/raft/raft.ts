/**
 * Steps every message, from peers and from this member: applies the rules on terms, then dispatches to the file of the
 * concern. The only switch on message type.
 *
 * Raft paper, figure 2 ("Rules for Servers"). Pure.
 */
import { assert } from "./assert";
import {
  campaignByConfig,
  checkQuorum,
  forgetLeader,
  handleTimeoutNow,
  handleVoteRequest,
  handleVoteResponse,
  inLease,
  tickElection,
} from "./election";
import { beat, handleHeartbeat, handleHeartbeatResponse } from "./heartbeat";
import { maybeAutoLeave } from "./reconfiguration";
import { MessageType, newMessage } from "./message";
import type { Message } from "./message";
import { handleForwarded } from "./proposal";
import { handleReadIndex, handleReadIndexResponse } from "./read_index";
import type { StepRefusal } from "./refusals";
import { handleAppend, handleAppendResponse } from "./replication";
import { entriesSize, payloadsSize } from "./size";
import { handleSnapshot, handleSnapshotStatus } from "./snapshot";
import { RaftState } from "./state";
import { ProgressState } from "./status";
import { abortTransfer, continueTransfer, handleTransferLeader } from "./transfer";
import { NO_NODE, Role } from "./types";
import type { NodeId } from "./types";

export class Raft extends RaftState {
  /** One unit of time. */
  tick(): void {
    if (this.role !== Role.Leader) {
      tickElection(this);
      return;
    }
    this.heartbeatElapsed++;
    this.electionElapsed++;
    if (this.electionElapsed >= this.config.electionTicks) {
      this.electionElapsed = 0;
      if (this.config.checkQuorum) checkQuorum(this);
      if (this.leaderTransferee !== NO_NODE) {
        abortTransfer(this);
        maybeAutoLeave(this);
      }
    }
    if (this.heartbeatElapsed < this.config.heartbeatTicks) return;
    this.heartbeatElapsed = 0;
    beat(this);
  }

  /** Leader: starts a transfer to `to`, replaces the one under way, or (`to` is this member) ends it. */
  transferLeader(to: NodeId): StepRefusal | null {
    const refusal = handleTransferLeader(this, to);
    // A transfer that ended may have held back the change that leaves a joint configuration.
    maybeAutoLeave(this);
    return refusal;
  }

  /**
   * Takes one message. A message of a peer has passed checkPeerMessage.
   * @returns why the message was refused, or null
   */
  step(m: Message): StepRefusal | null {
    if (m.term > this.term) {
      if (!this.enterHigherTerm(m)) return null;
    } else if (m.term < this.term && m.term !== 0) {
      return this.handleStale(m);
    }
    switch (m.type) {
      case MessageType.Append:
      case MessageType.Heartbeat:
      case MessageType.Snapshot:
        return this.handleFromLeader(m);
      case MessageType.AppendResponse: {
        const refusal = handleAppendResponse(this, m);
        if (refusal === null && !m.reject) continueTransfer(this, m.from);
        return refusal;
      }
      case MessageType.HeartbeatResponse:
        return handleHeartbeatResponse(this, m);
      case MessageType.Propose:
        return handleForwarded(this, m);
      case MessageType.Vote:
      case MessageType.PreVote:
        handleVoteRequest(this, m);
        return null;
      case MessageType.VoteResponse:
      case MessageType.PreVoteResponse:
        handleVoteResponse(this, m);
        return null;
      case MessageType.TimeoutNow:
        handleTimeoutNow(this);
        return null;
      case MessageType.TransferLeader:
        return this.transferLeader(m.from);
      case MessageType.ReadIndex:
        return handleReadIndex(this, m);
      case MessageType.ReadIndexResponse:
        return handleReadIndexResponse(this, m);
      case MessageType.StorageAppendResponse:
        if (m.index !== 0) this.log.stableTo(m.index, m.logTerm);
        this.snapshotStable(m);
        return null;
      case MessageType.StorageApplyResponse:
        this.entriesApplied(m);
        return null;
      case MessageType.Hup:
        campaignByConfig(this);
        return null;
      case MessageType.Beat:
        beat(this);
        return null;
      case MessageType.CheckQuorum:
        checkQuorum(this);
        return null;
      case MessageType.ForgetLeader:
        forgetLeader(this);
        return null;
      case MessageType.Unreachable:
        this.handleUnreachable(m);
        return null;
      case MessageType.SnapshotStatus:
        handleSnapshotStatus(this, m);
        return null;
      case MessageType.StorageAppend:
      case MessageType.StorageApply:
        // Requests to the storage threads, which the core itself never handles.
        return "local-message";
    }
  }

  /** Adopts a higher term where the type of the message requires it. False when the message is to be ignored. */
  private enterHigherTerm(m: Message): boolean {
    const { type } = m;
    if (type === MessageType.Vote || type === MessageType.PreVote) {
      // A member that hears a leader does not help to replace it, unless the leader itself has asked for the election.
      if (!m.forced && inLease(this)) return false;
    }
    // A request of a pre-vote, or its grant, raises no term.
    if (type === MessageType.PreVote || (type === MessageType.PreVoteResponse && !m.reject)) return true;
    const fromLeader =
      type === MessageType.Append || type === MessageType.Heartbeat || type === MessageType.Snapshot;
    this.becomeFollower(m.term, fromLeader ? m.from : NO_NODE);
    return true;
  }

  private handleStale(m: Message): StepRefusal | null {
    const { checkQuorum: quorumChecked, preVote } = this.config;
    switch (m.type) {
      case MessageType.Heartbeat:
      case MessageType.Append:
        // The sender leads an earlier term. It learns the current one from this answer where it would not learn it from
        // an election of this member: with CheckQuorum or PreVote, or when this member may not campaign. Otherwise this
        // member would ignore the leader for ever.
        if (quorumChecked || preVote || !this.promotable()) {
          this.send(this.draft(MessageType.AppendResponse, m.from));
        }
        break;
      case MessageType.Vote:
      case MessageType.PreVote: {
        // The candidate's term may be lower than a majority's. It learns the current term from the rejection.
        const type = m.type === MessageType.Vote ? MessageType.VoteResponse : MessageType.PreVoteResponse;
        const rejection = newMessage(type, m.from, this.id, this.term);
        rejection.reject = true;
        this.send(rejection);
        break;
      }
      case MessageType.StorageAppendResponse:
        // The entries may have been replaced since by others that are still being written, so the response does not
        // count for them. A snapshot holds committed state, whatever the term.
        this.snapshotStable(m);
        return null;
      default:
        break;
    }
    return "stale-term";
  }

  /** Append, Heartbeat or Snapshot of this term: the sender leads the term. */
  private handleFromLeader(m: Message): StepRefusal | null {
    if (this.role === Role.Leader) return "conflicting-leader";
    if (this.role !== Role.Follower) {
      this.becomeFollower(this.term, m.from);
    } else if (this.leader !== m.from && this.leader !== NO_NODE) {
      return "conflicting-leader";
    }
    this.electionElapsed = 0;
    this.leader = m.from;
    if (m.type === MessageType.Heartbeat) return handleHeartbeat(this, m);
    if (m.type === MessageType.Append) return handleAppend(this, m);
    return m.snapshot === null ? null : handleSnapshot(this, m, m.snapshot);
  }

  private handleUnreachable(m: Message): void {
    const progress = this.tracker.progress.get(m.from);
    if (this.role !== Role.Leader || progress?.state !== ProgressState.Replicate) return;
    // The messages in flight are probably lost.
    progress.becomeProbe();
  }

  private snapshotStable(m: Message): void {
    if (m.snapshot === null) return;
    const { index } = m.snapshot.meta;
    this.log.stableSnapshotTo(index);
    this.appliedTo(index, 0);
  }

  private entriesApplied(m: Message): void {
    const last = m.entries.at(-1);
    if (last === undefined) return;
    this.appliedTo(last.index, entriesSize(m.entries));
    this.uncommittedBytes = Math.max(0, this.uncommittedBytes - payloadsSize(m.entries));
  }

  private appliedTo(index: number, bytes: number): void {
    assert(index <= this.log.committed, "applied what is not committed");
    this.log.appliedTo(index, bytes);
    maybeAutoLeave(this);
  }
}
