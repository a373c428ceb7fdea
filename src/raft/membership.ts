/**
 * Membership changes in the core: which one may be proposed, what one does when it is applied, and leaving a joint
 * configuration.
 *
 * A change takes effect when it is applied. At most one is unapplied at a time: while one may be, no other is proposed.
 * Raft paper, section 6; thesis, chapter 4. Pure.
 */
import { Changer, enterJointMode, leaveJointChange } from "./confchange";
import type { ChangeResult } from "./confchange";
import { releaseConfirmedReads } from "./read_index";
import type { ConfChangeRefusal } from "./refusals";
import { appendOwn, broadcastAppend, maybeCommit } from "./replication";
import type { RaftState } from "./state";
import { abortTransfer } from "./transfer";
import { ConfChangeTransition, EMPTY_BYTES, EntryType, isMemberId, NO_NODE, Role } from "./types";
import type { ConfChange, ConfState } from "./types";

/** Why a change may not be appended now. */
export interface ChangeObjection {
  readonly refusal: ConfChangeRefusal;
  /** For people: what exactly is in the way. */
  readonly detail: string;
}

/** Checks a change against the active configuration; the first obstacle is reported. */
export function findObjection(r: RaftState, change: ConfChange, type: EntryType): ChangeObjection | null {
  const { applied } = r.log;
  const joint = r.tracker.config.voters.isJoint;
  const leaves = leaveJointChange(change);
  if (r.pendingConfIndex > applied) {
    const detail = `possible unapplied conf change at index ${r.pendingConfIndex} (applied to ${applied})`;
    return { refusal: "pending", detail };
  }
  if (joint && !leaves) {
    return { refusal: "must-leave-joint", detail: "must transition out of joint config first" };
  }
  if (!joint && leaves) {
    return { refusal: "not-joint", detail: "not in joint state; refusing empty conf change" };
  }
  const malformed = findMalformed(change, type);
  if (malformed !== null) return { refusal: "invalid", detail: malformed };
  const result = computeChange(r, change);
  return result.ok ? null : { refusal: "invalid", detail: result.error };
}

/** What is wrong with a change whatever the configuration, or null. */
export function findMalformed(change: ConfChange, type: EntryType): string | null {
  if (type === EntryType.ConfChange) {
    const single = change.changes.length === 1 && change.transition === ConfChangeTransition.Auto;
    if (!single) return "a change of the first form holds exactly one step";
  }
  for (const step of change.changes) {
    if (!isMemberId(step.nodeId)) return `${step.nodeId} is no member id`;
  }
  return null;
}

function computeChange(r: RaftState, change: ConfChange): ChangeResult {
  const changer = new Changer(r.tracker, r.log.lastIndex());
  if (leaveJointChange(change)) return changer.leaveJoint();
  const { joint, autoLeave } = enterJointMode(change);
  return joint ? changer.enterJoint(autoLeave, change.changes) : changer.simple(change.changes);
}

/**
 * Applies a committed change, and returns the configuration after it.
 *
 * One that does not fit (only possible where validation is off, or a leader was broken) changes nothing: on every
 * member alike, as all come from the same configuration. So does one that a snapshot has overtaken.
 * @param index of the change's entry, where known: a change at or below an installed snapshot is old news
 */
export function applyConfChange(r: RaftState, change: ConfChange, index?: number): ConfState {
  const overtaken = r.log.hasPendingSnapshot() || (index !== undefined && index <= r.snapshotConfIndex);
  if (overtaken) return r.tracker.confState();
  const result = computeChange(r, change);
  if (!result.ok) {
    r.trace?.warn?.(`${r.id} ignores a committed membership change: ${result.error}`);
    return r.tracker.confState();
  }
  r.adopt(result.config, result.progress);
  const confState = r.tracker.confState();
  if (r.role === Role.Leader) leadNewConfig(r);
  return confState;
}

function leadNewConfig(r: RaftState): void {
  const own = r.ownProgress;
  if (own === undefined || own.isLearner) {
    // Removed or demoted. Without step-down it leads on, without counting itself, until somebody else is elected.
    if (r.config.stepDownOnRemoval) {
      r.becomeFollower(r.term, NO_NODE);
      return;
    }
  }
  if (!r.tracker.config.voters.has(r.leaderTransferee)) abortTransfer(r);
  // A smaller quorum may have what it takes; if not, new members are probed at once.
  if (maybeCommit(r)) broadcastAppend(r);
  else broadcastAppend(r, false);
  releaseConfirmedReads(r);
}

/** Leader: proposes to leave a joint configuration that is to be left automatically, once it is applied. */
export function maybeAutoLeave(r: RaftState): void {
  const { autoLeave } = r.tracker.config;
  if (!autoLeave || r.role !== Role.Leader || r.log.applied < r.pendingConfIndex) return;
  // In the middle of a transfer nothing is proposed; the next leader leaves, or this one when the transfer fails.
  if (r.leaderTransferee !== NO_NODE || r.ownProgress === undefined) return;
  r.trace?.info?.(`${r.id} initiates automatic transition out of ${r.tracker.config.toString()}`);
  const index = r.log.lastIndex() + 1;
  const confChange: ConfChange = { transition: ConfChangeTransition.Auto, changes: [], context: EMPTY_BYTES };
  r.pendingConfIndex = index;
  appendOwn(r, [{ term: r.term, index, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange }]);
  broadcastAppend(r);
}
