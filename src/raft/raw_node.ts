/**
 * The core as its node uses it: input by calls, output by Ready.
 *
 * One turn: hasReady, ready, carry it out, then advance; or, with asynchronous storage writes, hand the StorageAppend and
 * StorageApply messages to the local threads and give their responses to stepLocal when they are done.
 */
import { assert } from "./assert";
import { validateRaftConfig } from "./config";
import type { RaftConfig } from "./config";
import { campaignByConfig, forgetLeader } from "./election";
import { applyConfChange } from "./membership";
import { MessageType, newMessage } from "./message";
import type { Message } from "./message";
import { checkPeerMessage } from "./peer_input";
import { propose, proposeConfChange } from "./proposal";
import type { ConfChangeResult, ProposeResult } from "./proposal";
import { Raft } from "./raft";
import { broadcastHeartbeats, startRead } from "./read_index";
import type { ReadState, Ready, SoftState } from "./ready";
import type { StepRefusal } from "./refusals";
import { forwardTransfer, handleTransferLeader } from "./transfer";
import type { ProgressStatus, RaftStatus } from "./status";
import { EntryType, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, Role } from "./types";
import type { ConfChange, ConfState, Entry, HardState, NodeId, Snapshot } from "./types";

export type StepResult = { readonly ok: true } | { readonly ok: false; readonly reason: StepRefusal };

const STEPPED: StepResult = { ok: true };

export class RawNode {
  /** The state behind this node. For tests and checkers that look inside; a node works through the methods alone. */
  readonly raft: Raft;
  private readonly async: boolean;
  private lastSoftState: SoftState;
  private lastHardState: HardState;
  /** What the present Ready acknowledges once it is carried out; null between Readys. Not with asynchronous writes. */
  private stepsOnAdvance: Message[] | null = null;
  private readonly refused = new Map<StepRefusal, number>();

  /**
   * @throws ConfigError on a bad option
   * @throws InvariantError when what storage holds contradicts itself
   */
  constructor(config: RaftConfig) {
    const resolved = validateRaftConfig(config);
    this.async = resolved.asyncStorageWrites;
    this.raft = new Raft(resolved);
    this.lastSoftState = { leader: this.raft.leader, role: this.raft.role };
    this.lastHardState = this.hardState();
  }

  get id(): NodeId {
    return this.raft.id;
  }

  get term(): number {
    return this.raft.term;
  }

  /** Who leads, as far as this member knows; NO_NODE when it knows nobody. */
  get leader(): NodeId {
    return this.raft.leader;
  }

  get role(): Role {
    return this.raft.role;
  }

  get committed(): number {
    return this.raft.log.committed;
  }

  get applied(): number {
    return this.raft.log.applied;
  }

  get lastIndex(): number {
    return this.raft.log.lastIndex();
  }

  /**
   * Whether a snapshot was received that storage has not acknowledged. Entries handed out to be applied before it are
   * to be dropped (their responses still delivered): the configuration is already the snapshot's, and its state will
   * replace what they would change.
   */
  get hasPendingSnapshot(): boolean {
    return this.raft.log.hasPendingSnapshot();
  }

  /** Messages that were refused, by reason. */
  get refusedMessages(): ReadonlyMap<StepRefusal, number> {
    return this.refused;
  }

  /** One unit of time; see RaftConfig.electionTicks. */
  tick(): void {
    this.raft.tick();
  }

  /** Starts an election now, by PreVote where that is on. Nothing happens on a leader or a member that can't lead. */
  campaign(): void {
    campaignByConfig(this.raft);
  }

  /** Proposes entries for the state machine: all or none, with consecutive indexes. At least one. */
  propose(data: readonly Uint8Array[]): ProposeResult {
    assert(data.length > 0, "an empty proposal");
    return propose(this.raft, data);
  }

  /**
   * Proposes a membership change. Refused by the leader's checks, an empty entry is appended all the same and the
   * refusal returned; a follower that forwards can't tell.
   */
  proposeConfChange(change: ConfChange, type: EntryType = EntryType.ConfChangeV2): ConfChangeResult {
    assert(type !== EntryType.Normal, "a membership change in a normal entry");
    return proposeConfChange(this.raft, change, type);
  }

  /** Takes a message of a peer. Never throws, whatever it holds; a refusal is counted. */
  step(m: Message): StepResult {
    return this.count(checkPeerMessage(this.raft, m) ?? this.raft.step(m));
  }

  /** Takes a message of this member itself: responses of the storage threads, and its own votes and appends. */
  stepLocal(m: Message): void {
    this.raft.step(m);
  }

  /**
   * Asks for an index that is safe to read at; it comes in Ready.readStates, once, or never: then ask again with a new
   * context.
   * @param context unsigned 64-bit, not zero, never used before on any member
   * @returns ok false when there is no leader to ask, or it has too many reads waiting
   */
  readIndex(context: bigint): { readonly ok: boolean } {
    assert(context > 0n, "a read without a context");
    return { ok: startRead(this.raft, context) === null };
  }

  /** Asks for leadership to go to `to`. Nobody answers; watch who leads. */
  transferLeader(to: NodeId): void {
    if (this.raft.role === Role.Leader) handleTransferLeader(this.raft, to);
    else forwardTransfer(this.raft, to);
  }

  /** Makes a follower forget its leader, so that it grants votes; it stays in its term. */
  forgetLeader(): void {
    forgetLeader(this.raft);
  }

  /** Whether ready() would have something to do. */
  hasReady(): boolean {
    const { raft } = this;
    const { log } = raft;
    return (
      raft.messages.length > 0 ||
      raft.messagesAfterAppend.length > 0 ||
      log.hasNextUnstableEntries() ||
      log.hasNextCommittedEntries(!this.async) ||
      raft.readStates.length > 0 ||
      raft.reads.wantsRound ||
      !this.softStateIsOld() ||
      !this.hardStateIsOld() ||
      log.nextUnstableSnapshot() !== null
    );
  }

  /**
   * Everything to be done now. It counts as handed out: without asynchronous writes, advance() comes before the next
   * ready().
   */
  ready(): Ready {
    assert(this.stepsOnAdvance === null, "ready() before advance()");
    const { raft } = this;
    const { log } = raft;
    if (raft.reads.wantsRound) broadcastHeartbeats(raft);
    const entries = log.nextUnstableEntries();
    const committedEntries = log.nextCommittedEntries(!this.async);
    const snapshot = log.nextUnstableSnapshot();
    const hardState = this.hardStateIsOld() ? null : this.hardState();
    const softState = this.softStateIsOld() ? null : { leader: raft.leader, role: raft.role };
    const mustSync = entries.length > 0 || !this.voteAndTermAreOld();
    const readStates: readonly ReadState[] = raft.readStates;
    const messages = raft.messages;
    const afterAppend = raft.messagesAfterAppend;
    raft.messages = [];
    raft.messagesAfterAppend = [];
    if (readStates.length > 0) raft.readStates = [];
    if (this.async) this.orderStorage(messages, afterAppend, entries, committedEntries, hardState, snapshot);
    else this.holdBack(messages, afterAppend, committedEntries, snapshot);
    if (softState !== null) this.lastSoftState = softState;
    if (hardState !== null) this.lastHardState = hardState;
    log.acceptUnstable();
    log.acceptApplying(committedEntries, !this.async);
    return { softState, hardState, readStates, entries, snapshot, committedEntries, messages, mustSync };
  }

  /** The last Ready is carried out: written, synced, sent and applied. */
  advance(): void {
    assert(!this.async, "advance() with asynchronous storage writes");
    const steps = this.stepsOnAdvance;
    assert(steps !== null, "advance() without ready()");
    this.stepsOnAdvance = null;
    for (const m of steps) this.raft.step(m);
  }

  /**
   * Applies a committed membership change; called for each, in order, unless the state machine refused it.
   * @param index of its entry. With it, a change that an installed snapshot has overtaken is told apart.
   * @returns the configuration afterwards
   */
  applyConfChange(change: ConfChange, index?: number): ConfState {
    return applyConfChange(this.raft, change, index);
  }

  /** A message to `id` was lost. */
  reportUnreachable(id: NodeId): void {
    this.raft.step(newMessage(MessageType.Unreachable, this.id, id, 0));
  }

  /** The snapshot for `id` was delivered, or not. */
  reportSnapshot(id: NodeId, ok: boolean): void {
    const m = newMessage(MessageType.SnapshotStatus, this.id, id, 0);
    m.reject = !ok;
    this.raft.step(m);
  }

  /** A copy of what an observer may know. */
  status(): RaftStatus {
    const { raft } = this;
    const progress = new Map<NodeId, ProgressStatus>();
    if (raft.role === Role.Leader) {
      raft.tracker.visit((id, p) =>
        progress.set(id, {
          match: p.match,
          next: p.next,
          state: p.state,
          isLearner: p.isLearner,
          recentActive: p.recentActive,
          pendingSnapshot: p.pendingSnapshot,
        }),
      );
    }
    return {
      id: raft.id,
      hardState: this.hardState(),
      role: raft.role,
      leader: raft.leader,
      applied: raft.log.applied,
      lastIndex: raft.log.lastIndex(),
      leaderTransferee: raft.leaderTransferee,
      pendingConfIndex: raft.pendingConfIndex,
      confState: raft.tracker.confState(),
      progress,
    };
  }

  private count(refusal: StepRefusal | null): StepResult {
    if (refusal === null) return STEPPED;
    this.refused.set(refusal, (this.refused.get(refusal) ?? 0) + 1);
    return { ok: false, reason: refusal };
  }

  private hardState(): HardState {
    return { term: this.raft.term, vote: this.raft.vote, commit: this.raft.log.committed };
  }

  private voteAndTermAreOld(): boolean {
    return this.raft.term === this.lastHardState.term && this.raft.vote === this.lastHardState.vote;
  }

  private hardStateIsOld(): boolean {
    return this.voteAndTermAreOld() && this.raft.log.committed === this.lastHardState.commit;
  }

  private softStateIsOld(): boolean {
    return this.raft.leader === this.lastSoftState.leader && this.raft.role === this.lastSoftState.role;
  }

  /** Asynchronous writes: adds the orders to the storage threads to `messages`. */
  private orderStorage(
    messages: Message[],
    afterAppend: Message[],
    entries: readonly Entry[],
    committedEntries: readonly Entry[],
    hardState: HardState | null,
    snapshot: Snapshot | null,
  ): void {
    if (entries.length > 0 || hardState !== null || snapshot !== null || afterAppend.length > 0) {
      const m = newMessage(MessageType.StorageAppend, LOCAL_APPEND_THREAD, this.id, hardState?.term ?? 0);
      m.entries = entries;
      m.snapshot = snapshot;
      if (hardState !== null) {
        m.vote = hardState.vote;
        m.commit = hardState.commit;
      }
      // The own acknowledgements come first: they read terms of entries that the last response takes out of the tail.
      if (this.raft.log.hasUnstableEntries() || snapshot !== null) {
        afterAppend.push(this.appendResponse(snapshot));
      }
      m.responses = afterAppend;
      messages.push(m);
    }
    if (committedEntries.length > 0) {
      const m = newMessage(MessageType.StorageApply, LOCAL_APPLY_THREAD, this.id, 0);
      m.entries = committedEntries;
      m.responses = [this.applyResponse(committedEntries)];
      messages.push(m);
    }
  }

  /** Synchronous writes: what goes to others leaves with this Ready, what is for this member waits for advance(). */
  private holdBack(
    messages: Message[],
    afterAppend: readonly Message[],
    committedEntries: readonly Entry[],
    snapshot: Snapshot | null,
  ): void {
    const steps: Message[] = [];
    for (const m of afterAppend) (m.to === this.id ? steps : messages).push(m);
    if (this.raft.log.hasUnstableEntries() || snapshot !== null) steps.push(this.appendResponse(snapshot));
    if (committedEntries.length > 0) steps.push(this.applyResponse(committedEntries));
    this.stepsOnAdvance = steps;
  }

  /**
   * What the append thread answers: all that is unstable now is on disk. Carries the term of the moment, so that the
   * answer is dropped when a new term has begun; and names the last entry even when this order holds none, so that the
   * answer to an earlier order that was dropped is made good.
   */
  private appendResponse(snapshot: Snapshot | null): Message {
    const { raft } = this;
    const m = newMessage(MessageType.StorageAppendResponse, raft.id, LOCAL_APPEND_THREAD, raft.term);
    if (raft.log.hasUnstableEntries()) {
      m.index = raft.log.lastIndex();
      m.logTerm = raft.log.lastTerm();
    }
    m.snapshot = snapshot;
    return m;
  }

  private applyResponse(entries: readonly Entry[]): Message {
    const m = newMessage(MessageType.StorageApplyResponse, this.id, LOCAL_APPLY_THREAD, 0);
    m.entries = entries;
    return m;
  }
}
