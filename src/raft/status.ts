/**
 * What an observer may know of the core. Copies: nothing here changes when the core does.
 */
import type { ConfState, HardState, NodeId, Role } from "./types";

/** How a leader sends to one follower. */
export enum ProgressState {
  /** One message at a time, until the follower's log is found. */
  Probe = 0,
  /** Optimistic, pipelined. */
  Replicate = 1,
  /** Waiting for a snapshot to be installed. */
  Snapshot = 2,
}

export interface ProgressStatus {
  readonly match: number;
  readonly next: number;
  readonly state: ProgressState;
  readonly isLearner: boolean;
  /** Heard from since the last quorum check. */
  readonly recentActive: boolean;
  readonly pendingSnapshot: number;
}

export interface RaftStatus {
  readonly id: NodeId;
  readonly hardState: HardState;
  readonly role: Role;
  readonly leader: NodeId;
  readonly applied: number;
  readonly lastIndex: number;
  readonly leaderTransferee: NodeId;
  /** Index up to which a membership change may be pending; above `applied`, none is proposed. */
  readonly pendingConfIndex: number;
  readonly confState: ConfState;
  /** Only on a leader. */
  readonly progress: ReadonlyMap<NodeId, ProgressStatus>;
}
