/** What other layers may see of a replica, and how they hear of its changes. */
import type { NodeId, RaftStatus, Snapshot } from "../raft/index";
import type { RosterView } from "../roster/index";
import type { ContactTracker } from "./contact";

/** Called from inside the replica's loop. What one throws ends the member by onFatal. */
export interface ReplicaListener {
  /** The leader, this member's role, or the term changed. */
  onLeadership?(): void;
  /** Entries were applied, or a snapshot was installed. */
  onApplied?(): void;
  /** One tick passed. */
  onTick?(): void;
  /** This member was removed. It goes on until onDismissed, so that others can still have its vote. */
  onRemoved?(text: string): void;
  /**
   * The cluster can do without this removed member. Called at every tick from then on.
   *
   * @param revision of its removal; 0 when its own roster does not have it, and only another member said so
   */
  onDismissed?(revision: number): void;
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
  /** The leader's contacts with the other members. */
  readonly contacts: ContactTracker;
  readonly roster: RosterView;
  /** Whether the disk takes entries now. */
  readonly hasSpace: boolean;
  /**
   * Whether a removed member may still be needed: its vote counts in a joint configuration, or this member could forget
   * in a crash that the removal is committed, and need that vote again.
   */
  isLeaving(id: NodeId): boolean;
  /** Allocates: not for the hot path. */
  status(): RaftStatus;
  /** The state of all machines with the configuration at the same index. Copies: not for the hot path. */
  capture(): Snapshot;
  /** @returns what ends it */
  listen(listener: ReplicaListener): () => void;
}
