/**
 * The state of one member of the group, and the transitions that every concern uses: sending, becoming a follower,
 * resetting for a term. The rules are in election.ts, replication.ts and so on; raft.ts dispatches messages to them.
 *
 * Invariants: `vote` is erased only when `term` rises. A member leads at most once in a term. Messages in
 * `messagesAfterAppend` are sent only when everything unstable at that time is on disk.
 * Raft paper, figure 2. Pure.
 */
import { restore } from "./confchange";
import { assert } from "./assert";
import type { RaftTrace, ResolvedConfig } from "./config";
import type { Contradiction } from "./contradiction";
import { RaftLog } from "./log";
import { MessageType, newMessage } from "./message";
import type { Message, MessageDraft } from "./message";
import type { ReadState } from "./ready";
import { PendingReads } from "./pending_reads";
import { ProgressTracker } from "./tracker";
import type { Progress, TrackerConfig } from "./tracker";
import { NO_NODE, Role } from "./types";
import type { ConfState, NodeId } from "./types";

/**
 * The largest term or index that is accepted from a peer. Far below the last safe integer, so that after an absurd
 * message this member's own counting still stays in the safe range.
 */
export const MAX_WIRE_NUMBER = Number.MAX_SAFE_INTEGER - 2 ** 40;

export class RaftState {
  readonly id: NodeId;
  readonly config: ResolvedConfig;
  readonly trace: RaftTrace | undefined;
  readonly log: RaftLog;
  readonly tracker: ProgressTracker;
  readonly reads: PendingReads;

  term = 0;
  vote: NodeId = NO_NODE;
  role = Role.Follower;
  leader: NodeId = NO_NODE;

  /** Sent with the next Ready. */
  messages: Message[] = [];
  /** Sent, or stepped here, once everything unstable is on disk. */
  messagesAfterAppend: Message[] = [];
  readStates: ReadState[] = [];

  /** Target of the leadership transfer under way, or NO_NODE. While set, proposals are refused. */
  leaderTransferee: NodeId = NO_NODE;
  /** A configuration change may be pending up to this index. While it is above `log.applied`, no other is proposed. */
  pendingConfIndex = 0;
  /** Index of this leader's first entry of its term. Without meaning in other roles. */
  firstOwnIndex = 0;
  /**
   * Payload bytes that this leader has proposed and not applied; see maxUncommittedSize. Too low after an election, as
   * entries of earlier leaders are subtracted when they are applied; never too high.
   */
  uncommittedBytes = 0;
  /**
   * Up to this index the log is known to match that of the current term's leader. A new term starts again from the
   * commit index. After a restart in the same term the whole log counts: what was verified before is not recorded.
   */
  verifiedIndex = 0;
  /** Why the last Append or Snapshot was refused with "contradiction"; null when it was not. */
  contradiction: Contradiction | null = null;
  /** The active configuration already includes every configuration change up to this index. */
  snapshotConfIndex = 0;

  /** Ticks since the last message from the leader (on a leader: since the last quorum check). */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** Drawn anew in each term from [electionTicks, 2 * electionTicks). */
  randomizedElectionTimeout = 0;
  /** Added to randomizedElectionTimeout, in ticks: set by the application, and kept through terms. */
  campaignDelay = 0;

  constructor(config: ResolvedConfig) {
    this.config = config;
    this.id = config.id;
    this.trace = config.trace;
    this.log = new RaftLog(config.storage, config.maxCommittedSizePerReady);
    this.tracker = new ProgressTracker(config.maxInflightMessages, config.maxInflightBytes);
    this.reads = new PendingReads(config.id);
    const { hardState, confState } = config.storage.initialState();
    assert(hardState.commit <= this.log.lastIndex(), "the saved commit index is beyond the saved log");
    this.term = hardState.term;
    this.vote = hardState.vote;
    // Applied entries are committed, even when a crash lost the last record of the commit index.
    assert(config.applied <= this.log.lastIndex(), "the applied index is beyond the saved log");
    this.log.commitTo(Math.max(hardState.commit, config.applied));
    if (config.applied > 0) this.log.appliedTo(config.applied, 0);
    this.adoptSaved(confState, this.log.lastIndex());
    this.snapshotConfIndex = this.log.applied;
    this.becomeFollower(this.term, NO_NODE);
    this.verifiedIndex = this.log.lastIndex();
  }

  /** This member's own Progress; undefined when the configuration does not list it. */
  get ownProgress(): Progress | undefined {
    return this.tracker.progress.get(this.id);
  }

  /** A new message from this member in the current term. */
  draft(type: MessageType, to: NodeId): MessageDraft {
    return newMessage(type, to, this.id, this.term);
  }

  /**
   * Queues a message. Answers depend on the state of this member, so they wait until it is on disk; rejections too, as
   * they carry the adopted term. All other messages are sent at once.
   * Raft thesis, section 10.2.1 (writing in parallel).
   */
  send(message: Message): void {
    switch (message.type) {
      case MessageType.AppendResponse:
      case MessageType.VoteResponse:
      case MessageType.PreVoteResponse:
        this.messagesAfterAppend.push(message);
        break;
      default:
        assert(message.to !== this.id, "a message to this member itself");
        this.messages.push(message);
    }
  }

  /**
   * Resets for `term`: no leader, timers at zero, all progress unknown. The vote is kept when the term stays the same.
   */
  reset(term: number): void {
    if (this.term !== term) {
      assert(term > this.term, "the term would fall");
      this.term = term;
      this.vote = NO_NODE;
      this.verifiedIndex = 0;
    }
    this.leader = NO_NODE;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    const { electionTicks, random } = this.config;
    this.randomizedElectionTimeout = electionTicks + random.below(electionTicks);
    this.leaderTransferee = NO_NODE;
    this.pendingConfIndex = 0;
    this.uncommittedBytes = 0;
    this.tracker.resetVotes();
    this.reads.clear();
    const last = this.log.lastIndex();
    this.tracker.visit((id, progress) => progress.restart(id === this.id ? last : 0, last + 1));
  }

  becomeFollower(term: number, leader: NodeId): void {
    this.reset(term);
    this.role = Role.Follower;
    this.leader = leader;
    this.trace?.info?.(`${this.id} became follower at term ${term}, leader ${leader}`);
  }

  /** Whether this member may campaign: a voter of its own configuration that waits for no snapshot to be installed. */
  promotable(): boolean {
    const progress = this.ownProgress;
    return progress !== undefined && !progress.isLearner && !this.log.hasPendingSnapshot();
  }

  /**
   * Whether this leader has committed an entry of its own term. Before, its commit index may be lower than an earlier
   * leader's.
   */
  committedOwn(): boolean {
    return this.log.committed >= this.firstOwnIndex;
  }

  /**
   * Adopts the configuration of storage, or of a snapshot that was checked. @throws InvariantError when it is not valid
   */
  adoptSaved(saved: ConfState, lastIndex: number): void {
    const restored = restore(this.tracker, lastIndex, saved);
    if (!restored.ok) assert(false, `the saved configuration is broken: ${restored.error}`);
    else this.adopt(restored.config, restored.progress);
  }

  /** Replaces the active configuration and the progress of its members. */
  adopt(config: TrackerConfig, progress: ReadonlyMap<NodeId, Progress>): void {
    this.tracker.install(config, progress);
    this.trace?.info?.(`${this.id} switched to configuration ${config.toString()}`);
  }
}
