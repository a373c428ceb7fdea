/**
 * A leader's view of one follower's log, and how it sends to the follower.
 *
 * A follower is in one of three states. Probe: one message per heartbeat interval, until the match is found. Replicate:
 * optimistic, `next` is ahead of the acknowledged index, bounded by the inflight window. Snapshot: no entries are sent
 * until the snapshot is reported or acknowledged.
 *
 * Invariant: match < next. Entries in (match, next) are in flight; none below `next` is sent again while replicating.
 * Raft paper, section 5.3 (nextIndex, matchIndex); thesis, section 10.2.
 */
import { assert } from "../assert";
import { ProgressState } from "../status";
import { type Inflights } from "./inflights";

export class Progress {
  /** Highest index known to be in the follower's log. */
  match: number;
  /** Index of the next entry to send. */
  next: number;
  state: ProgressState = ProgressState.Probe;
  /** Index of the snapshot under way; 0 unless in state Snapshot. */
  pendingSnapshot = 0;
  /** Whether a message has arrived since the last quorum check. */
  recentActive: boolean;
  /** No entries are sent before the next answer or heartbeat response. */
  msgAppFlowPaused = false;
  isLearner: boolean;
  readonly inflights: Inflights;
  /** Highest commit index sent to the follower. It is not sent again before it rises. */
  sentCommit = 0;

  constructor(match: number, next: number, inflights: Inflights, isLearner = false, recentActive = false) {
    this.match = match;
    this.next = next;
    this.inflights = inflights;
    this.isLearner = isLearner;
    this.recentActive = recentActive;
  }

  /** Resets for a new term: probing, nothing in flight, not active. Whether it is a learner stays the same. */
  restart(match: number, next: number): void {
    this.match = match;
    this.next = next;
    this.recentActive = false;
    this.sentCommit = 0;
    this.resetState(ProgressState.Probe);
  }

  /** Enters `state` with nothing in flight and nothing pending. */
  resetState(state: ProgressState): void {
    this.msgAppFlowPaused = false;
    this.pendingSnapshot = 0;
    this.state = state;
    this.inflights.reset();
  }

  /** Probes from the entry after the known match, or after the snapshot that was sent. */
  becomeProbe(): void {
    const installed = this.state === ProgressState.Snapshot ? this.pendingSnapshot : 0;
    this.resetState(ProgressState.Probe);
    this.next = Math.max(this.match, installed) + 1;
    this.capSentCommit();
  }

  becomeReplicate(): void {
    this.resetState(ProgressState.Replicate);
    this.next = this.match + 1;
  }

  becomeSnapshot(snapshotIndex: number): void {
    this.resetState(ProgressState.Snapshot);
    this.pendingSnapshot = snapshotIndex;
    this.next = snapshotIndex + 1;
    this.sentCommit = snapshotIndex;
  }

  /** Records an Append message of `entries` entries and `bytes` bytes as sent. An empty one adds nothing in flight. */
  sentEntries(entries: number, bytes: number): void {
    assert(this.state !== ProgressState.Snapshot, "entries sent to a follower that waits for a snapshot");
    if (this.state === ProgressState.Replicate) {
      if (entries > 0) {
        this.next += entries;
        this.inflights.add(this.next - 1, bytes);
      }
      this.msgAppFlowPaused = this.inflights.full();
    } else if (entries > 0) {
      this.msgAppFlowPaused = true;
    }
  }

  /** Assumes that entries up to `lastSent` are received, until a rejection arrives. */
  optimisticUpdate(lastSent: number): void {
    this.next = lastSent + 1;
  }

  /**
   * Whether sending commit index `index` could raise the follower's: it is higher than the one sent last, and entries
   * above that one have been sent.
   */
  canBumpCommit(index: number): boolean {
    return index > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** Records a commit index as sent. */
  bumpSentCommit(commit: number): void {
    this.sentCommit = commit;
  }

  /** Takes an acknowledgement up to `index`. False when it is not above `match`. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.msgAppFlowPaused = false;
    return true;
  }

  /**
   * Takes a rejection of an Append at `rejected`; `matchHint` is the highest index at which the logs may match.
   * False when it is stale: the answer to an earlier message.
   */
  maybeDecrTo(rejected: number, matchHint: number): boolean {
    if (this.state === ProgressState.Replicate) {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.capSentCommit();
      return true;
    }
    // While probing there is one message in flight: only its answer counts.
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, matchHint + 1), this.match + 1);
    this.capSentCommit();
    this.msgAppFlowPaused = false;
    return true;
  }

  /** Whether no entries may be sent now. Heartbeats are always sent. */
  isPaused(): boolean {
    return this.state === ProgressState.Snapshot || this.msgAppFlowPaused;
  }

  /** A copy that shares nothing. */
  clone(): Progress {
    const copy = new Progress(
      this.match,
      this.next,
      this.inflights.clone(),
      this.isLearner,
      this.recentActive,
    );
    copy.state = this.state;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.msgAppFlowPaused = this.msgAppFlowPaused;
    copy.sentCommit = this.sentCommit;
    return copy;
  }

  /** As the conformance scripts print it: "StateReplicate match=4 next=7 learner paused inflight=2[full]". */
  toString(): string {
    let text = `${STATE_NAME[this.state]} match=${this.match} next=${this.next}`;
    if (this.isLearner) text += " learner";
    if (this.isPaused()) text += " paused";
    if (this.pendingSnapshot > 0) text += ` pendingSnap=${this.pendingSnapshot}`;
    if (!this.recentActive) text += " inactive";
    const inflight = this.inflights.count();
    if (inflight > 0) text += ` inflight=${inflight}${this.inflights.full() ? "[full]" : ""}`;
    return text;
  }

  /** After `next` has been lowered, the messages that carried the commit index may be lost: it is sent again. */
  private capSentCommit(): void {
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }
}

const STATE_NAME: Readonly<Record<ProgressState, string>> = {
  [ProgressState.Probe]: "StateProbe",
  [ProgressState.Replicate]: "StateReplicate",
  [ProgressState.Snapshot]: "StateSnapshot",
};
