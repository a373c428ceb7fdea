/**
 * The core's front door: every message, from peers and from this member, is stepped here, and the term rules are applied
 * before anything else. This is the only switch on message type; each concern is in its own file.
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
import { maybeAutoLeave } from "./membership";
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

  /**
   * Takes one message, which checkPeerMessage has passed unless it comes from this member itself.
   * @returns why nothing was done, or null
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
        return handleTransferLeader(this, m.from);
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
        // Orders to the storage threads: nothing that the core could carry out.
        return "local-message";
    }
  }

  /** Follows a higher term, as far as the message asks for it. False when the message is to be ignored. */
  private enterHigherTerm(m: Message): boolean {
    const { type } = m;
    if (type === MessageType.Vote || type === MessageType.PreVote) {
      // Whoever hears a leader does not help to replace it, unless the leader itself wants that.
      if (!m.forced && inLease(this)) return false;
    }
    // Asking for a pre-vote, or granting one, raises nobody's term.
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
        // The sender leads in a term that this member has left. With CheckQuorum or PreVote, or as a learner, this
        // member would not disturb it by an election, so it has to be told the term, or it would never hear from this
        // member again.
        if (quorumChecked || preVote || !this.promotable()) {
          this.send(this.draft(MessageType.AppendResponse, m.from));
        }
        break;
      case MessageType.Vote:
      case MessageType.PreVote: {
        // The candidate may be stuck at a smaller term than a majority: it learns the term from the rejection.
        const type = m.type === MessageType.Vote ? MessageType.VoteResponse : MessageType.PreVoteResponse;
        const rejection = newMessage(type, m.from, this.id, this.term);
        rejection.reject = true;
        this.send(rejection);
        break;
      }
      case MessageType.StorageAppendResponse:
        // Entries may have been replaced since, while the write of the replacement is still under way: what storage
        // says about them is not to be trusted. A snapshot is committed state in any term.
        this.snapshotStable(m);
        return null;
      default:
        break;
    }
    return "stale-term";
  }

  /** Append, Heartbeat or Snapshot of this term: whoever sends it leads. */
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
    if (m.type === MessageType.Append) handleAppend(this, m);
    else if (m.snapshot !== null) handleSnapshot(this, m, m.snapshot);
    return null;
  }

  private handleUnreachable(m: Message): void {
    const progress = this.tracker.progress.get(m.from);
    if (this.role !== Role.Leader || progress?.state !== ProgressState.Replicate) return;
    // What was sent optimistically is likely lost.
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
