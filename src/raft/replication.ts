/**
 * Log replication. The leader appends, sends each follower the entries that it lacks and commits the entries that a
 * quorum holds. A follower appends where its log matches the leader's; otherwise it rejects with a hint.
 *
 * Raft paper, sections 5.3 and 5.4.2; thesis, section 10.2.1 (pipelining). Pure.
 */
import { findContradiction } from "./contradiction";
import { MessageType } from "./message";
import type { Message } from "./message";
import { releaseEarlyReads } from "./read_index";
import type { StepRefusal } from "./refusals";
import { payloadsSize } from "./size";
import { maybeSendSnapshot } from "./snapshot";
import type { RaftState } from "./state";
import { ProgressState } from "./status";
import type { Progress } from "./tracker";
import { Role } from "./types";
import type { Entry, NodeId } from "./types";

/** Appends entries of this leader, and acknowledges them to itself once they are on disk. */
export function appendOwn(r: RaftState, entries: readonly Entry[]): void {
  r.log.append(entries);
  const ack = r.draft(MessageType.AppendResponse, r.id);
  ack.index = r.log.lastIndex();
  r.send(ack);
}

/** Sends every other member the entries that it lacks, or an empty message with the commit index. */
export function broadcastAppend(r: RaftState, sendIfEmpty = true): void {
  for (const id of r.tracker.ids()) {
    if (id === r.id) continue;
    const progress = r.tracker.progress.get(id);
    if (progress !== undefined) maybeSendAppend(r, id, progress, sendIfEmpty);
  }
}

/**
 * Sends one Append, or a snapshot when the entries before it are compacted. False when nothing was sent: sending to the
 * follower is paused, or there are no new entries and `sendIfEmpty` is not set.
 */
export function maybeSendAppend(r: RaftState, to: NodeId, progress: Progress, sendIfEmpty: boolean): boolean {
  if (progress.isPaused()) return false;
  const prevIndex = progress.next - 1;
  const prevTerm = r.log.term(prevIndex);
  if (typeof prevTerm !== "number") return maybeSendSnapshot(r, to, progress);
  // With a full window an empty message is sent: if all messages in flight were lost, its answer resumes replication.
  const windowFull = progress.state === ProgressState.Replicate && progress.inflights.full();
  const entries = windowFull ? NO_ENTRIES : r.log.entriesFrom(progress.next, r.config.maxSizePerMessage);
  if (entries.length === 0 && !sendIfEmpty) return false;
  if (typeof entries === "string") return maybeSendSnapshot(r, to, progress);
  const m = r.draft(MessageType.Append, to);
  m.index = prevIndex;
  m.logTerm = prevTerm;
  m.entries = entries;
  m.commit = r.log.committed;
  r.send(m);
  progress.sentEntries(entries.length, payloadsSize(entries));
  progress.bumpSentCommit(m.commit);
  return true;
}

const NO_ENTRIES: readonly Entry[] = [];

/**
 * Raises the commit index to the highest index that a quorum holds, if its entry is of this term. True when it rose.
 */
export function maybeCommit(r: RaftState): boolean {
  if (!r.log.maybeCommit(r.tracker.committed(), r.term)) return false;
  releaseEarlyReads(r);
  return true;
}

/**
 * Follower: appends, or rejects with a hint where the leader should try next. What can't be of a correct leader is
 * refused without an answer.
 */
export function handleAppend(r: RaftState, m: Message): StepRefusal | null {
  r.contradiction = findContradiction(r, m.from, m.index, m.logTerm, m.entries);
  if (r.contradiction !== null) return "contradiction";
  const response = r.draft(MessageType.AppendResponse, m.from);
  if (m.index < r.log.committed) {
    // Committed entries match the leader's log.
    response.index = r.log.committed;
    r.send(response);
    return null;
  }
  const lastNew = r.log.tryAppend(m.index, m.logTerm, m.entries, m.commit);
  if (lastNew >= 0) {
    r.verifiedIndex = Math.max(r.verifiedIndex, lastNew);
    response.index = lastNew;
    r.send(response);
    return null;
  }
  // The hint skips our entries of later terms than the leader's at that index; the leader then skips its entries of
  // later terms than the hint's. That takes one round trip per differing term, not one per entry.
  const hint = r.log.findConflictByTerm(Math.min(m.index, r.log.lastIndex()), m.logTerm);
  r.trace?.debug?.(`${r.id} rejected Append ${m.logTerm}/${m.index} from ${m.from}`);
  response.index = m.index;
  response.reject = true;
  response.rejectHint = hint.index;
  response.logTerm = hint.term;
  r.send(response);
  return null;
}

/** Leader: a member acknowledges entries, or rejects an Append. */
export function handleAppendResponse(r: RaftState, m: Message): StepRefusal | null {
  const progress = r.tracker.progress.get(m.from);
  if (r.role !== Role.Leader || progress === undefined) return null;
  if (m.index > r.log.lastIndex()) return "beyond-log";
  progress.recentActive = true;
  if (m.reject) handleRejection(r, m, progress);
  else handleAcceptance(r, m, progress);
  return null;
}

function handleRejection(r: RaftState, m: Message, progress: Progress): void {
  // The follower's term at its hint rules out every entry of ours with a later term.
  const hint = m.logTerm > 0 ? r.log.findConflictByTerm(m.rejectHint, m.logTerm).index : m.rejectHint;
  if (!progress.maybeDecrTo(m.index, hint)) return;
  r.trace?.debug?.(`${r.id} decreased progress of ${m.from} to [${progress.toString()}]`);
  if (progress.state === ProgressState.Replicate) progress.becomeProbe();
  maybeSendAppend(r, m.from, progress, true);
}

function handleAcceptance(r: RaftState, m: Message, progress: Progress): void {
  const updated = progress.maybeUpdate(m.index);
  // An answer that confirms the known match still ends a probe, for instance of a follower reported unreachable.
  if (!updated && !(progress.match === m.index && progress.state === ProgressState.Probe)) return;
  switch (progress.state) {
    case ProgressState.Probe:
      progress.becomeReplicate();
      break;
    case ProgressState.Snapshot:
      // Any snapshot is enough that lets the follower continue from this log, not only the pending one.
      if (progress.match + 1 >= r.log.firstIndex()) {
        progress.becomeProbe();
        progress.becomeReplicate();
      }
      break;
    case ProgressState.Replicate:
      progress.inflights.freeLE(m.index);
      break;
  }
  const self = m.from === r.id;
  if (maybeCommit(r)) {
    broadcastAppend(r);
  } else if (!self && progress.canBumpCommit(r.log.committed)) {
    maybeSendAppend(r, m.from, progress, true);
  }
  if (self) return;
  // The acknowledgement may have freed room in the window for several messages.
  while (maybeSendAppend(r, m.from, progress, false));
}
