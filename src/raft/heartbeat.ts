/**
 * Heartbeats. They keep followers from campaigning, and carry the commit index as far as the follower's log is known to
 * match. (read_index.ts sends them, as each may confirm reads.)
 *
 * Raft paper, section 5.2. Pure.
 */
import { MessageType } from "./message";
import type { Message } from "./message";
import { acknowledgeRound, broadcastHeartbeats, releaseConfirmedReads } from "./read_index";
import type { StepRefusal } from "./refusals";
import { maybeSendAppend } from "./replication";
import type { RaftState } from "./state";
import { ProgressState } from "./status";
import { Role } from "./types";

/** The leader's periodic heartbeat. Also repeats a read round whose messages were lost. */
export function beat(r: RaftState): void {
  if (r.role !== Role.Leader) return;
  broadcastHeartbeats(r);
  releaseConfirmedReads(r);
}

/**
 * Follower: takes the commit index. One beyond what this log is known to share with the leader's (`verifiedIndex`)
 * means a faulty leader or lost data, and is refused.
 */
export function handleHeartbeat(r: RaftState, m: Message): StepRefusal | null {
  if (m.index > r.log.lastIndex()) {
    // The leader has an acknowledgement of this member, and the entries are gone. No late message can look like this: in
    // one term a correct log never ends before what was acknowledged.
    const regress = r.draft(MessageType.HeartbeatResponse, m.from);
    regress.reject = true;
    regress.index = m.index;
    regress.rejectHint = r.log.lastIndex();
    r.send(regress);
    return "log-regressed";
  }
  // A faulty leader that sends two logs in one term can shorten this log after it was verified.
  const known = Math.min(Math.max(r.verifiedIndex, r.log.committed), r.log.lastIndex());
  if (m.commit > known) return "commit-beyond-match";
  r.log.commitTo(m.commit);
  const response = r.draft(MessageType.HeartbeatResponse, m.from);
  response.context = m.context;
  r.send(response);
  return null;
}

/**
 * Leader: the follower is alive, or it reports that it has lost entries that it acknowledged in this term. If it lags, or
 * is being probed, it is sent an Append to answer.
 */
export function handleHeartbeatResponse(r: RaftState, m: Message): StepRefusal | null {
  const progress = r.tracker.progress.get(m.from);
  if (r.role !== Role.Leader || progress === undefined) return null;
  // Only what was acknowledged can be lost.
  if (m.reject)
    return m.index <= progress.match && m.rejectHint < m.index ? "log-regressed" : "invalid-field";
  if (m.context !== 0n && !acknowledgeRound(r, m.from, m.context)) return "invalid-field";
  progress.recentActive = true;
  progress.msgAppFlowPaused = false;
  if (progress.match < r.log.lastIndex() || progress.state === ProgressState.Probe) {
    maybeSendAppend(r, m.from, progress, true);
  }
  if (m.context !== 0n) releaseConfirmedReads(r);
  return null;
}
