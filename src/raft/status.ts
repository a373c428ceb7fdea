/**
 * The core's state for observers. All values are copies.
 */
import type { ConfState, HardState, NodeId, Role } from "./types";

/** How a leader sends to one follower. */
export enum ProgressState {
  /** One message at a time, until the leader knows where the follower's log matches its own. */
  Probe = 0,
  /** Entries are sent without waiting for the acknowledgement of earlier ones. */
  Replicate = 1,
  /** Waiting for a snapshot to be installed. */
  Snapshot = 2,
}

export interface ProgressStatus {
  readonly match: number;
  readonly next: number;
  readonly state: ProgressState;
  readonly isLearner: boolean;
  /** Whether a message has arrived since the last quorum check. */
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
  /** A configuration change may be pending up to this index. While it is above `applied`, no change is accepted. */
  readonly pendingConfIndex: number;
  readonly confState: ConfState;
  /** Only on a leader. */
  readonly progress: ReadonlyMap<NodeId, ProgressStatus>;
}
