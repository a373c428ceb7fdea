/**
 * Leadership transfer: the leader stops taking proposals, brings the target up to date and tells it to campaign at once.
 * A transfer that takes an election timeout is given up.
 *
 * Raft thesis, section 3.10. Pure.
 */
import { MessageType } from "./message";
import { maybeSendAppend } from "./replication";
import type { StepRefusal } from "./refusals";
import type { RaftState } from "./state";
import { NO_NODE, Role } from "./types";
import type { NodeId } from "./types";

/** Leader: starts handing over to `to`. Learners, strangers, itself and a repeated request are ignored. */
export function handleTransferLeader(r: RaftState, to: NodeId): StepRefusal | null {
  if (r.role !== Role.Leader) return "not-leader";
  const progress = r.tracker.progress.get(to);
  if (progress === undefined || !r.tracker.config.voters.has(to)) return "unknown-sender";
  if (r.leaderTransferee === to) return null;
  abortTransfer(r);
  if (to === r.id) return null;
  r.trace?.info?.(`${r.id} starts to transfer leadership to ${to} at term ${r.term}`);
  // The transfer gets one election timeout from here.
  r.electionElapsed = 0;
  r.leaderTransferee = to;
  if (progress.match === r.log.lastIndex()) sendTimeoutNow(r, to);
  else maybeSendAppend(r, to, progress, true);
  return null;
}

/** Leader, after an answer of `from`: the target may have caught up. */
export function continueTransfer(r: RaftState, from: NodeId): void {
  if (from !== r.leaderTransferee || r.role !== Role.Leader) return;
  if (r.tracker.progress.get(from)?.match === r.log.lastIndex()) sendTimeoutNow(r, from);
}

export function abortTransfer(r: RaftState): void {
  r.leaderTransferee = NO_NODE;
}

/** Asks the leader, from a member that is not it. */
export function forwardTransfer(r: RaftState, to: NodeId): void {
  if (r.leader === NO_NODE) return;
  const m = r.draft(MessageType.TransferLeader, r.leader);
  m.from = to;
  r.send(m);
}

function sendTimeoutNow(r: RaftState, to: NodeId): void {
  r.trace?.info?.(`${r.id} sends TimeoutNow to ${to}`);
  r.send(r.draft(MessageType.TimeoutNow, to));
}
