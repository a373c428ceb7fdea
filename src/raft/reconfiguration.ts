/**
 * Configuration changes: checks before one is proposed, its effect when it is applied, and leaving a joint
 * configuration.
 *
 * A change takes effect when it is applied. While one may be unapplied, no other is proposed.
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
  /** The reason as text, for people. */
  readonly detail: string;
}

/** Checks a change against the active configuration. Returns the first objection, or null. */
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
  // Whatever its transition: without steps there is nothing to enter a joint configuration for.
  if (!joint && change.changes.length === 0) {
    return { refusal: "not-joint", detail: "not in joint state; refusing empty conf change" };
  }
  const malformed = findMalformed(change, type);
  if (malformed !== null) return { refusal: "invalid", detail: malformed };
  const result = computeChange(r, change);
  return result.ok ? null : { refusal: "invalid", detail: result.error };
}

/** Why a change is malformed, independent of the configuration; or null. */
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
 * A change that does not fit the configuration (validation is off, or a leader is faulty) changes nothing, on every
 * member, since all apply it to the same configuration. Neither does a change that an installed snapshot already
 * covers.
 * @param index of the change's entry, where known; at or below an installed snapshot the change is ignored
 */
export function applyConfChange(r: RaftState, change: ConfChange, index?: number): ConfState {
  const overtaken = r.log.hasPendingSnapshot() || (index !== undefined && index <= r.snapshotConfIndex);
  if (overtaken) return r.tracker.confState();
  const result = computeChange(r, change);
  if (!result.ok) {
    r.trace?.warn?.(`${r.id} ignores a committed configuration change: ${result.error}`);
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
    // Removed or demoted. Without step-down it goes on leading, without counting itself, until another is elected.
    if (r.config.stepDownOnRemoval) {
      r.becomeFollower(r.term, NO_NODE);
      return;
    }
  }
  if (!r.tracker.config.voters.has(r.leaderTransferee)) abortTransfer(r);
  // A smaller quorum may already hold more entries. Otherwise new members are probed at once.
  if (maybeCommit(r)) broadcastAppend(r);
  else broadcastAppend(r, false);
  releaseConfirmedReads(r);
}

/** Leader: proposes to leave a joint configuration with autoLeave, once it is applied. */
export function maybeAutoLeave(r: RaftState): void {
  const { autoLeave } = r.tracker.config;
  if (!autoLeave || r.role !== Role.Leader || r.log.applied < r.pendingConfIndex) return;
  // During a transfer nothing is proposed: the next leader leaves, or this one when the transfer is aborted.
  if (r.leaderTransferee !== NO_NODE || r.ownProgress === undefined) return;
  r.trace?.info?.(`${r.id} initiates automatic transition out of ${r.tracker.config.toString()}`);
  const index = r.log.lastIndex() + 1;
  const confChange: ConfChange = { transition: ConfChangeTransition.Auto, changes: [], context: EMPTY_BYTES };
  r.pendingConfIndex = index;
  appendOwn(r, [{ term: r.term, index, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange }]);
  broadcastAppend(r);
}
