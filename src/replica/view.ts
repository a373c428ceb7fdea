/** What other layers may see of a replica, and how they hear of its changes. */
import type { NodeId, RaftStatus, Snapshot } from "../raft/index";
import type { RosterView } from "../roster/index";
import type { ContactTracker } from "./contact";
import type { Disks } from "./disks";

/** Called from inside the replica's loop. What one throws ends the member by onFatal. */
export interface ReplicaListener {
  /** The leader, this member's role, or the term changed. */
  onLeadership?(): void;
  /** Entries were applied, or a snapshot was installed. */
  onApplied?(): void;
  /** One tick passed. */
  onTick?(): void;
  /** This member was removed, by its own log or by the word of enough others. It goes on until onDismissed, so that others can still have its vote. */
  onRemoved?(text: string): void;
  /**
   * The cluster can do without this removed member. Called at every tick from then on.
   *
   * @param revision of its removal; 0 when its own roster does not have it, and only another member said so
   */
  onDismissed?(revision: number): void;
  /** The log of this follower ends before what it had acknowledged: it is not to be trusted any more. */
  onRegressed?(id: NodeId): void;
  /** The member can't go on: nothing is ticked, taken, sent or applied any more. Called once. */
  onFatal?(error: Error): void;
}

export interface ReplicaView {
  readonly id: NodeId;
  readonly clusterId: bigint;
  readonly term: number;
  /** NO_NODE when none is known. */
  readonly leader: NodeId;
  readonly isLeader: boolean;
  readonly committed: number;
  /** Index of the last entry that the state machines have. */
  readonly applied: number;
  readonly lastIndex: number;
  /** Ticks since the start. */
  readonly ticks: number;
  /** An election timeout in ticks. */
  readonly electionTicks: number;
  /** The leader's contacts with the other members, and when each was last heard by whichever member. */
  readonly contacts: ContactTracker;
  /** Whose disks are full. */
  readonly disks: Disks;
  readonly roster: RosterView;
  /** Whether the disk takes entries now. */
  readonly hasSpace: boolean;
  /**
   * Whether a removed member may still be needed: its vote counts in a joint configuration, or this member could forget
   * in a crash that the removal is committed, and need that vote again.
   */
  isLeaving(id: NodeId): boolean;
  /** Whether this log holds a removal of this very member that is not known to be committed. */
  readonly mayBeRemoved: boolean;
  /** Allocates: not for the hot path. */
  status(): RaftStatus;
  /**
   * Calls `done` with the state of all machines as it is now and the configuration at the same index, at once or some
   * turns later. Callers at the same applied
   * index share one copy.
   *
   * @returns what ends its use; before `done` was called, it prevents the call
   */
  capture(done: (snapshot: Snapshot) => void): () => void;
  /** @returns what ends it */
  listen(listener: ReplicaListener): () => void;
}
