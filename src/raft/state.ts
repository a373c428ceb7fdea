/**
 * The state of one member of the group, and the few transitions that every concern needs: sending, falling back to
 * follower, starting over in a term. What happens when is in election.ts, replication.ts and so on; raft.ts decides
 * which of them a message meets.
 *
 * Invariants: `vote` is erased only when `term` rises. A member leads at most once in a term. Messages in
 * `messagesAfterAppend` leave only when all that is unstable now is on disk.
 * Raft paper, figure 2. Pure.
 */
import { restore } from "./confchange";
import { assert } from "./assert";
import type { RaftTrace, ResolvedConfig } from "./config";
import { RaftLog } from "./log";
import { MessageType, newMessage } from "./message";
import type { Message, MessageDraft } from "./message";
import type { ReadState } from "./ready";
import { ReadQueue } from "./read_queue";
import { ProgressTracker } from "./tracker";
import type { Progress, TrackerConfig } from "./tracker";
import { NO_NODE, Role } from "./types";
import type { ConfState, NodeId } from "./types";

/**
 * Terms and indexes from peers end here, far below the last safe integer: one absurd message can't bring this member to
 * where its own counting would leave the safe range.
 */
export const MAX_WIRE_NUMBER = Number.MAX_SAFE_INTEGER - 2 ** 40;

export class RaftState {
  readonly id: NodeId;
  readonly config: ResolvedConfig;
  readonly trace: RaftTrace | undefined;
  readonly log: RaftLog;
  readonly tracker: ProgressTracker;
  readonly reads: ReadQueue;

  term = 0;
  vote: NodeId = NO_NODE;
  role = Role.Follower;
  leader: NodeId = NO_NODE;

  /** To be sent at once. */
  messages: Message[] = [];
  /** To be sent, or stepped here, once everything unstable now is on disk. */
  messagesAfterAppend: Message[] = [];
  readStates: ReadState[] = [];

  /** Member that leadership is being handed to, or NO_NODE. While set, no proposals are taken. */
  leaderTransferee: NodeId = NO_NODE;
  /** A membership change may be pending up to this index; above `log.applied`, no other is proposed. */
  pendingConfIndex = 0;
  /** Index of the entry that this leader began its term with. Of no meaning on others. */
  firstOwnIndex = 0;
  /** Payload bytes proposed by this leader and not applied. May be too low after an election, never too high. */
  uncommittedBytes = 0;
  /**
   * Up to here this log is known to equal that of the current term's leader. After a restart in the same term that is
   * all of it, as far as anybody can tell; a new term starts over from the commit index.
   */
  verifiedIndex = 0;
  /** The adopted configuration is at least that of this index: membership changes up to it say nothing any more. */
  snapshotConfIndex = 0;

  /** Ticks since the last word from the leader (leader: since the last quorum check). */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** Drawn anew in each term from [electionTicks, 2 * electionTicks). */
  randomizedElectionTimeout = 0;

  constructor(config: ResolvedConfig) {
    this.config = config;
    this.id = config.id;
    this.trace = config.trace;
    this.log = new RaftLog(config.storage, config.maxCommittedSizePerReady);
    this.tracker = new ProgressTracker(config.maxInflightMessages, config.maxInflightBytes);
    this.reads = new ReadQueue(config.id);
    const { hardState, confState } = config.storage.initialState();
    assert(hardState.commit <= this.log.lastIndex(), "the saved commit index is beyond the saved log");
    this.term = hardState.term;
    this.vote = hardState.vote;
    // What is applied is committed, whatever was saved of the commit index: its record may be the one that a crash lost.
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

  /** A message from this member in the present term. */
  draft(type: MessageType, to: NodeId): MessageDraft {
    return newMessage(type, to, this.id, this.term);
  }

  /**
   * Queues a message. Answers speak of what this member holds, so they wait until it is on disk; that goes for
   * rejections too, as they show the term that was adopted. All else may leave at once.
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

  /** Starts over in `term`: no leader, timers at zero, all progress unknown. The vote stays within a term. */
  reset(term: number): void {
    if (this.term !== term) {
      assert(term > this.term, "a term that goes back");
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

  /** Whether this member may campaign: a voter by its own configuration, with its state machine in place. */
  promotable(): boolean {
    const progress = this.ownProgress;
    return progress !== undefined && !progress.isLearner && !this.log.hasPendingSnapshot();
  }

  /** Whether this leader has committed an entry of its own: only then its commit index is the group's. */
  committedOwn(): boolean {
    return this.log.committed >= this.firstOwnIndex;
  }

  /** Adopts a configuration that storage or a checked snapshot holds. @throws InvariantError when it is broken */
  adoptSaved(saved: ConfState, lastIndex: number): void {
    const restored = restore(this.tracker, lastIndex, saved);
    if (!restored.ok) assert(false, `the saved configuration is broken: ${restored.error}`);
    else this.adopt(restored.config, restored.progress);
  }

  adopt(config: TrackerConfig, progress: ReadonlyMap<NodeId, Progress>): void {
    this.tracker.install(config, progress);
    this.trace?.info?.(`${this.id} switched to configuration ${config.toString()}`);
  }
}
