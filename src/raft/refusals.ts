/**
 * The reasons for which the core refuses a proposal, a configuration change or a message. They are values, for callers
 * and counters; none of them means a defect.
 */

/** Why a proposal was refused. Nothing was appended. */
export type ProposalRefusal =
  /** No leader is known. */
  | "no-leader"
  /** This member follows, and forwarding is off. */
  | "not-leader"
  /** A leadership transfer is under way. */
  | "transferring"
  /** The proposal would exceed maxUncommittedSize. */
  | "uncommitted-size"
  /** This leader is no longer in the configuration. */
  | "removed";

/** Why a configuration change does not fit the active configuration. */
export type ConfChangeRefusal =
  /** An earlier change may not be applied yet. */
  | "pending"
  /** The configuration is joint and has to be left first. */
  | "must-leave-joint"
  /** The change has no steps, and there is no joint configuration to leave. */
  | "not-joint"
  /** The change is malformed, or does not lead to a valid configuration. */
  | "invalid";

/** Why a message was refused. Each refusal is counted. */
export type StepRefusal =
  /** A type that is never sent between members. */
  | "local-message"
  /** A forwarded proposal, while forwarding is off. */
  | "proposal-from-peer"
  /** The sender (for TransferLeader: the target) is not a member, or not a voter, of the active configuration. */
  | "unknown-sender"
  /** Addressed to another member, or sent under this member's own id. */
  | "misaddressed"
  /** A field has a value that no correct member sends. */
  | "invalid-field"
  /** The message is from an earlier term. */
  | "stale-term"
  /** A message from a leader, in a term that has another leader. */
  | "conflicting-leader"
  /** Acknowledges entries beyond the end of this log. */
  | "beyond-log"
  /** A heartbeat with a commit index beyond what this log is known to share with the leader's. */
  | "commit-beyond-match"
  /** The leader's log differs from this one where correct logs agree; see RawNode.contradiction. */
  | "contradiction"
  /** A follower's log ends before what it acknowledged to the leader in this term. Of a follower: its own log does. */
  | "log-regressed"
  /** Only a leader can handle the message, and this member is not one. */
  | "not-leader"
  /** This leader refused the forwarded proposal. */
  | "proposal-dropped"
  /** The leader already has MAX_WAITING_READS reads waiting. */
  | "too-many-reads"
  /** No leader is known. */
  | "no-leader";
