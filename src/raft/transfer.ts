/**
 * Leadership transfer: the leader refuses proposals, brings the target up to date and sends it TimeoutNow, on which the
 * target campaigns at once. A transfer that takes an election timeout is aborted.
 *
 * Raft thesis, section 3.10. Pure.
 */
import { MessageType } from "./message";
import { maybeSendAppend } from "./replication";
import type { StepRefusal } from "./refusals";
import type { RaftState } from "./state";
import { NO_NODE, Role } from "./types";
import type { NodeId } from "./types";

/** Leader: starts a transfer to `to`. Ignored: learners, members unknown here, and a repeated request. */
export function handleTransferLeader(r: RaftState, to: NodeId): StepRefusal | null {
  if (r.role !== Role.Leader) return "not-leader";
  const progress = r.tracker.progress.get(to);
  if (progress === undefined || !r.tracker.config.voters.has(to)) return "unknown-sender";
  if (r.leaderTransferee === to) return null;
  abortTransfer(r);
  if (to === r.id) return null;
  r.trace?.info?.(`${r.id} starts to transfer leadership to ${to} at term ${r.term}`);
  // The transfer may take one election timeout from here.
  r.electionElapsed = 0;
  r.leaderTransferee = to;
  if (progress.match === r.log.lastIndex()) sendTimeoutNow(r, to);
  else maybeSendAppend(r, to, progress, true);
  return null;
}

/**
 * Leader, after an acknowledgement of `from`: sends TimeoutNow when the target has caught up. Any later acknowledgement
 * repeats it, as the first may have been lost.
 */
export function continueTransfer(r: RaftState, from: NodeId): void {
  if (from !== r.leaderTransferee || r.role !== Role.Leader) return;
  if (r.tracker.progress.get(from)?.match === r.log.lastIndex()) sendTimeoutNow(r, from);
}

export function abortTransfer(r: RaftState): void {
  r.leaderTransferee = NO_NODE;
}

/** Forwards the request to the leader, from a member that does not lead. */
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
