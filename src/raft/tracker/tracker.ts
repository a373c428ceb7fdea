/**
 * The active configuration with one Progress per member, and the votes of the current election.
 *
 * Invariant: `progress` holds exactly the members of `config` (voters of both halves and learners). Both are replaced
 * together, by `install` with the result of a configuration change, never modified.
 */
import { VoteResult } from "../quorum";
import type { ConfState, NodeId } from "../types";
import { Inflights } from "./inflights";
import type { Progress } from "./progress";
import { sortedIds, TrackerConfig } from "./tracker_config";

/** The votes of an election so far. */
interface VoteTally {
  readonly granted: number;
  readonly rejected: number;
  readonly result: VoteResult;
}

export class ProgressTracker {
  /** The votes of the current election. A learner's vote is recorded but not counted. */
  readonly votes = new Map<NodeId, boolean>();

  private activeConfig = new TrackerConfig();
  private members: ReadonlyMap<NodeId, Progress> = new Map();
  /** The members in ascending order of id, as two parallel arrays: a broadcast sorts and allocates nothing. */
  private memberIds: readonly NodeId[] = [];
  private memberProgress: readonly Progress[] = [];
  private readonly matchOf = (id: NodeId): number | undefined => this.members.get(id)?.match;

  /**
   * @param maxInflight limit of Append messages in flight per member
   * @param maxInflightBytes limit of their bytes, 0 or Infinity for none
   */
  constructor(
    readonly maxInflight: number,
    readonly maxInflightBytes = 0,
  ) {}

  get config(): TrackerConfig {
    return this.activeConfig;
  }

  get progress(): ReadonlyMap<NodeId, Progress> {
    return this.members;
  }

  /** Replaces the configuration and its members. The caller must not modify them afterwards. */
  install(config: TrackerConfig, progress: ReadonlyMap<NodeId, Progress>): void {
    this.activeConfig = config;
    this.members = progress;
    const ids = sortedIds(progress.keys());
    this.memberIds = ids;
    this.memberProgress = ids.flatMap((id) => progress.get(id) ?? []);
  }

  /** An empty inflight window of this tracker's size. */
  newInflights(): Inflights {
    return new Inflights(this.maxInflight, this.maxInflightBytes);
  }

  confState(): ConfState {
    return this.activeConfig.confState();
  }

  /** Whether the configuration has a single voter. */
  isSingleton(): boolean {
    const { incoming, outgoing } = this.activeConfig.voters;
    return incoming.size === 1 && outgoing.size === 0;
  }

  /** The highest index that the quorum has acknowledged. */
  committed(): number {
    return this.activeConfig.voters.committedIndex(this.matchOf);
  }

  /** Calls `f` for each member in ascending order of id. */
  visit(f: (id: NodeId, progress: Progress) => void): void {
    const ids = this.memberIds;
    const all = this.memberProgress;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      const progress = all[i];
      if (id !== undefined && progress !== undefined) f(id, progress);
    }
  }

  /** All members in ascending order of id. */
  ids(): readonly NodeId[] {
    return this.memberIds;
  }

  /** Whether a quorum is active: messages have arrived since the last check. */
  quorumActive(): boolean {
    const active = new Map<NodeId, boolean>();
    this.visit((id, progress) => {
      if (!progress.isLearner) active.set(id, progress.recentActive);
    });
    return this.activeConfig.voters.voteResult(active) === VoteResult.Won;
  }

  /** The voters of both halves, ascending. */
  voterNodes(): readonly NodeId[] {
    return this.activeConfig.voters.ids();
  }

  /** The learners, ascending. */
  learnerNodes(): readonly NodeId[] {
    return sortedIds(this.activeConfig.learners);
  }

  /** Clears the votes, at a new election or a new term. */
  resetVotes(): void {
    this.votes.clear();
  }

  /** Records a vote. The first vote of a member counts. */
  recordVote(id: NodeId, granted: boolean): void {
    if (!this.votes.has(id)) this.votes.set(id, granted);
  }

  tallyVotes(): VoteTally {
    let granted = 0;
    let rejected = 0;
    this.visit((id, progress) => {
      if (progress.isLearner) return;
      const vote = this.votes.get(id);
      if (vote === undefined) return;
      if (vote) granted++;
      else rejected++;
    });
    return { granted, rejected, result: this.activeConfig.voters.voteResult(this.votes) };
  }
}
