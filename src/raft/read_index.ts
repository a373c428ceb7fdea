/**
 * ReadIndex: linearizable reads without a log entry. The leader records its commit index, confirms with a quorum that
 * it still leads, and returns that index; the reader waits until it is applied.
 *
 * No read is answered before the leader has committed an entry of its own term, a single voter included: until then its
 * commit index may be lower than that of an earlier leader.
 * Raft thesis, section 6.4. Pure.
 */
import { ReadOnlyOption } from "./config";
import { MessageType, newMessage } from "./message";
import type { Message } from "./message";
import type { StepRefusal } from "./refusals";
import type { RaftState } from "./state";
import { NO_NODE, Role } from "./types";
import type { NodeId } from "./types";

/** A read of this member, answered through readStates. Refused when no leader is known. */
export function startRead(r: RaftState, context: bigint): StepRefusal | null {
  if (r.role === Role.Leader) return takeRead(r, r.id, context);
  if (r.leader === NO_NODE) return "no-leader";
  // Without a term, as a leader of a later term can answer it too.
  const request = newMessage(MessageType.ReadIndex, r.leader, r.id, 0);
  request.context = context;
  r.send(request);
  return null;
}

/** A read that a follower has sent. Only a leader takes it; it is not forwarded again. */
export function handleReadIndex(r: RaftState, m: Message): StepRefusal | null {
  return r.role === Role.Leader ? takeRead(r, m.from, m.context) : "not-leader";
}

/** The leader's answer to a read of this member. An answer of any other member is refused. */
export function handleReadIndexResponse(r: RaftState, m: Message): StepRefusal | null {
  if (m.from !== r.leader) return "not-leader";
  r.readStates.push({ index: m.index, context: m.context });
  return null;
}

function takeRead(r: RaftState, from: NodeId, context: bigint): StepRefusal | null {
  if (r.reads.full) return "too-many-reads";
  if (!r.committedOwn()) r.reads.addEarly(from, context);
  else answerOrWait(r, from, context);
  return null;
}

function answerOrWait(r: RaftState, from: NodeId, context: bigint): void {
  const decidesAlone = r.tracker.isSingleton() && r.tracker.config.voters.has(r.id);
  if (decidesAlone || r.config.readOnly === ReadOnlyOption.LeaseBased) {
    answer(r, from, context, r.log.committed);
  } else {
    r.reads.add(from, context, r.log.committed);
  }
}

function answer(r: RaftState, to: NodeId, context: bigint, index: number): void {
  if (to === r.id) {
    r.readStates.push({ index, context });
    return;
  }
  const response = r.draft(MessageType.ReadIndexResponse, to);
  response.index = index;
  response.context = context;
  r.send(response);
}

/** After a commit of this term: takes the reads that waited for it. */
export function releaseEarlyReads(r: RaftState): void {
  for (const read of r.reads.takeEarly()) answerOrWait(r, read.from, read.context);
}

/** Answers the reads whose round a quorum has confirmed. Also called when the configuration changes. */
export function releaseConfirmedReads(r: RaftState): void {
  for (const read of r.reads.takeConfirmed(r.tracker.config.voters)) {
    answer(r, read.from, read.context, read.index);
  }
}

/** Records a follower's answer to a round. False when no such round was started. */
export function acknowledgeRound(r: RaftState, from: NodeId, context: bigint): boolean {
  return context <= MAX_ROUND && r.reads.acknowledge(from, Number(context));
}

const MAX_ROUND = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * Sends a heartbeat with the number of the current read round to every other member. Starts a round if reads wait for
 * one.
 */
export function broadcastHeartbeats(r: RaftState): void {
  if (r.reads.wantsRound) r.reads.startRound();
  const round = BigInt(r.reads.currentRound);
  for (const id of r.tracker.ids()) {
    if (id === r.id) continue;
    const progress = r.tracker.progress.get(id);
    if (progress === undefined) continue;
    const m = r.draft(MessageType.Heartbeat, id);
    // At most `match`: beyond it the follower's log may differ from this one.
    m.commit = Math.min(progress.match, r.log.committed);
    m.context = round;
    if (r.config.reportRegress) m.index = progress.match;
    progress.bumpSentCommit(m.commit);
    r.send(m);
  }
}
