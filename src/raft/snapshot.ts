/**
 * Snapshots for followers that need entries the leader no longer has.
 *
 * The snapshot's configuration replaces the follower's. Configuration changes of older entries that are still being
 * applied no longer count.
 * Raft paper, section 7. Pure.
 */
import { contradictionAt } from "./contradiction";
import { MessageType } from "./message";
import type { Message } from "./message";
import type { StepRefusal } from "./refusals";
import type { RaftState } from "./state";
import { ProgressState } from "./status";
import type { Progress } from "./tracker";
import type { NodeId, Snapshot } from "./types";

/** Leader: sends the newest snapshot. False when none is available, or the follower has not been heard from. */
export function maybeSendSnapshot(r: RaftState, to: NodeId, progress: Progress): boolean {
  if (!progress.recentActive) return false;
  const snapshot = r.log.snapshot();
  if (snapshot === null) return false;
  progress.becomeSnapshot(snapshot.meta.index);
  r.trace?.debug?.(`${r.id} sends snapshot ${snapshot.meta.index} to ${to} [${progress.toString()}]`);
  const m = r.draft(MessageType.Snapshot, to);
  m.snapshot = snapshot;
  r.send(m);
  return true;
}

/** Leader: the transport delivered the snapshot, or failed to. The next answer of the follower resumes replication. */
export function handleSnapshotStatus(r: RaftState, m: Message): void {
  const progress = r.tracker.progress.get(m.from);
  if (progress?.state !== ProgressState.Snapshot) return;
  // After a failure, probing must not start behind the snapshot.
  if (m.reject) progress.pendingSnapshot = 0;
  progress.becomeProbe();
  progress.msgAppFlowPaused = true;
}

/** Follower: installs the snapshot unless its log already reaches that far. Acknowledges the resulting index. */
export function handleSnapshot(r: RaftState, m: Message, snapshot: Snapshot): StepRefusal | null {
  const { index, term } = snapshot.meta;
  r.contradiction = contradictionAt(r, m.from, index, term);
  if (r.contradiction !== null) return "contradiction";
  const response = r.draft(MessageType.AppendResponse, m.from);
  response.index = install(r, snapshot) ? r.log.lastIndex() : r.log.committed;
  r.verifiedIndex = Math.max(r.verifiedIndex, response.index);
  r.send(response);
  return null;
}

/**
 * The configuration need not list this member: a member that was added after the snapshot was taken installs it, and
 * applies its own addition from the entries that follow. Until then it cannot campaign.
 */
function install(r: RaftState, snapshot: Snapshot): boolean {
  const { index, term, confState } = snapshot.meta;
  if (index <= r.log.committed) return false;
  if (r.log.matchTerm(index, term)) {
    // The log already holds these entries: applying them is cheaper than installing.
    r.log.commitTo(index);
    return false;
  }
  r.log.restore(snapshot);
  r.adoptSaved(confState, index);
  r.snapshotConfIndex = index;
  r.trace?.info?.(`${r.id} restored snapshot ${term}/${index}`);
  return true;
}
