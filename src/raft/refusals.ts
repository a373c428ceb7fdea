/**
 * Why the core turns something down: the reasons are values, for callers and counters. Nothing here is a defect.
 */

/** Why a proposal was not taken. Nothing was appended. */
export type ProposalRefusal =
  /** No leader is known. */
  | "no-leader"
  /** This member follows, and forwarding is off. */
  | "not-leader"
  /** Leadership is being handed over. */
  | "transferring"
  /** maxUncommittedSize would be exceeded. */
  | "uncommitted-size"
  /** This leader is no longer in the configuration. */
  | "removed";

/** Why a membership change does not fit the active configuration. */
export type ConfChangeRefusal =
  /** Another change may be unapplied. */
  | "pending"
  /** The configuration is joint: it has to be left first. */
  | "must-leave-joint"
  /** There is no joint configuration to leave. */
  | "not-joint"
  /** The change leads to no sound configuration, or is malformed. */
  | "invalid";

/** Why a message was not stepped. Each is counted. */
export type StepRefusal =
  /** A type that only this member may step. */
  | "local-message"
  /** Proposals come from a peer only where forwarding is on. */
  | "proposal-from-peer"
  /** An answer of somebody whom the configuration does not list. */
  | "unknown-sender"
  /** Meant for another member, or said to come from this one. */
  | "misaddressed"
  /** A field that no sound member would send. */
  | "invalid-field"
  /** A term that this member has left. */
  | "stale-term"
  /** Leadership claimed in a term that has another leader. */
  | "conflicting-leader"
  /** Acknowledges entries that this log does not have. */
  | "beyond-log"
  /** A heartbeat that commits what this member never acknowledged. */
  | "commit-beyond-match"
  /** Only a leader can do this, and this member is none. */
  | "not-leader"
  /** The forwarded proposal was dropped. */
  | "proposal-dropped"
  /** Too many reads wait. */
  | "too-many-reads"
  /** No leader is known. */
  | "no-leader";
