/**
 * Entries, hard state, snapshots and configurations, named as in the Raft paper.
 *
 * Terms and indexes are numbers (safe integers; 0 means none), node ids are unsigned 64-bit bigints (0n means none).
 * Everything here is plain data: no I/O.
 */

/** An unsigned 64-bit member id. `NO_NODE` means none. */
export type NodeId = bigint;

/** The zero id: no leader, no vote. */
export const NO_NODE: NodeId = 0n;

/** Target of messages for the local append thread (asynchronous storage writes). Never a member's id. */
export const LOCAL_APPEND_THREAD: NodeId = 0xffff_ffff_ffff_ffffn;

/** Target of messages for the local apply thread (asynchronous storage writes). Never a member's id. */
export const LOCAL_APPLY_THREAD: NodeId = 0xffff_ffff_ffff_fffen;

/** Whether `id` can name a member: an unsigned 64-bit number, not zero, not one of the local threads. */
export function isMemberId(id: NodeId): boolean {
  return id > NO_NODE && id < LOCAL_APPLY_THREAD;
}

/** The content of an entry. */
export enum EntryType {
  /**
   * Opaque data for the state machine. Empty data: a leader's first entry, or the place of a refused configuration
   * change.
   */
  Normal = 0,
  /** A configuration change of one step, as in the thesis. Only the conformance scripts use it. */
  ConfChange = 1,
  /** A configuration change of any number of steps, joint where needed. The product proposes this type only. */
  ConfChangeV2 = 2,
}

/** One step of a configuration change. */
export enum ConfChangeType {
  /** Adds a voter, or promotes a learner. */
  AddVoter = 0,
  /** Removes a voter or learner. */
  Remove = 1,
  /** Does not change the configuration: the entry carries, for instance, a member's new addresses. */
  Update = 2,
  /** Adds a learner, or demotes a voter. */
  AddLearner = 3,
}

/** Whether a configuration change passes through a joint configuration, and how that is left. */
export enum ConfChangeTransition {
  /** Joint only where more than one voter changes; left automatically. */
  Auto = 0,
  /** Always joint; left automatically. */
  JointImplicit = 1,
  /** Always joint; left by an empty change that the application proposes. */
  JointExplicit = 2,
}

/** What a configuration change does to one member. */
export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  readonly nodeId: NodeId;
}

/** A decoded configuration change. Without steps (and with transition Auto) it leaves a joint configuration. */
export interface ConfChange {
  readonly transition: ConfChangeTransition;
  readonly changes: readonly ConfChangeSingle[];
  /** Opaque to the core: the state machine's command that takes effect together with the change. */
  readonly context: Uint8Array;
}

/** One slot of the replicated log. */
export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly type: EntryType;
  /** Empty for configuration changes. */
  readonly data: Uint8Array;
  /** Set exactly when type is ConfChange or ConfChangeV2. */
  readonly confChange: ConfChange | null;
}

/** The Raft configuration at one index. Ids in ascending order. */
export interface ConfState {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
  /** The outgoing voters while joint, else empty. */
  readonly votersOutgoing: readonly NodeId[];
  /** Voters that become learners when the joint configuration is left. */
  readonly learnersNext: readonly NodeId[];
  /** Whether the joint configuration is left automatically. */
  readonly autoLeave: boolean;
}

/** The state that must be on disk before a message that depends on it is sent. */
export interface HardState {
  readonly term: number;
  /** The candidate that this member voted for in `term`, or NO_NODE. */
  readonly vote: NodeId;
  /** May be lower than the commit index in memory; safety does not depend on it. */
  readonly commit: number;
}

/** The last entry that a snapshot covers, and the configuration at that index. */
export interface SnapshotMeta {
  readonly index: number;
  readonly term: number;
  readonly confState: ConfState;
}

/** The state machine at one index. */
export interface Snapshot {
  readonly meta: SnapshotMeta;
  /** Opaque to the core. */
  readonly data: Uint8Array;
}

/** A member's role in the current term. */
export enum Role {
  Follower = 0,
  Candidate = 1,
  Leader = 2,
  PreCandidate = 3,
}

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

export const EMPTY_HARD_STATE: HardState = { term: 0, vote: NO_NODE, commit: 0 };
