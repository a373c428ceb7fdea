/**
 * The active configuration with one Progress per member, and the votes of the current election.
 *
 * Invariant: `progress` holds exactly the members of `config` (voters of both halves and learners). Both change
 * together, by `install` with the result of a membership change, never in place.
 */
import { VoteResult } from "../quorum";
import type { ConfState, NodeId } from "../types";
import { Inflights } from "./inflights";
import type { Progress } from "./progress";
import { sortedIds, TrackerConfig } from "./tracker_config";

/** How an election stands. */
export interface VoteTally {
  readonly granted: number;
  readonly rejected: number;
  readonly result: VoteResult;
}

export class ProgressTracker {
  /** The answers of the current election. A learner's is kept and not counted. */
  readonly votes = new Map<NodeId, boolean>();

  private activeConfig = new TrackerConfig();
  private members: ReadonlyMap<NodeId, Progress> = new Map();
  /** The members in ascending order of id, as two parallel arrays: a broadcast sorts and allocates nothing. */
  private memberIds: readonly NodeId[] = [];
  private memberProgress: readonly Progress[] = [];
  private readonly matchOf = (id: NodeId): number | undefined => this.members.get(id)?.match;

  /**
   * @param maxInflight most Append messages in flight per member
   * @param maxInflightBytes most bytes of them, 0 or Infinity for no limit
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

  /** Replaces the configuration and its members. Both belong to the tracker from now on. */
  install(config: TrackerConfig, progress: ReadonlyMap<NodeId, Progress>): void {
    this.activeConfig = config;
    this.members = progress;
    const ids = sortedIds(progress.keys());
    this.memberIds = ids;
    this.memberProgress = ids.flatMap((id) => progress.get(id) ?? []);
  }

  /** An empty window of this tracker's size. */
  newInflights(): Inflights {
    return new Inflights(this.maxInflight, this.maxInflightBytes);
  }

  confState(): ConfState {
    return this.activeConfig.confState();
  }

  /** Whether one voter decides alone. */
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

  /** Whether a quorum has been heard from since the last check. */
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

  /** Forgets the votes: a new election, or none. */
  resetVotes(): void {
    this.votes.clear();
  }

  /** Notes an answer. The first one of a member counts. */
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
