/**
 * The interface of the core: input by calls, output by Ready.
 *
 * One turn: hasReady, ready, carry it out, advance. With asynchronous storage writes there is no advance: the
 * StorageAppend and StorageApply messages go to the storage threads, and their responses to stepLocal when the work is
 * done.
 */
import { assert } from "./assert";
import { validateRaftConfig } from "./config";
import type { RaftConfig } from "./config";
import type { Contradiction } from "./contradiction";
import { campaignByConfig, forgetLeader, inLease } from "./election";
import { applyConfChange } from "./reconfiguration";
import { MessageType, newMessage } from "./message";
import type { Message } from "./message";
import { checkPeerMessage } from "./peer_input";
import { propose, proposeConfChange } from "./proposal";
import type { ConfChangeResult, ProposeResult } from "./proposal";
import { Raft } from "./raft";
import { broadcastHeartbeats, startRead } from "./read_index";
import type { ReadState, Ready, SoftState } from "./ready";
import type { StepRefusal } from "./refusals";
import { forwardTransfer } from "./transfer";
import type { ProgressStatus, RaftStatus } from "./status";
import { EntryType, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, NO_NODE, Role } from "./types";
import type { ConfChange, ConfState, Entry, HardState, NodeId, Snapshot } from "./types";

type StepResult = { readonly ok: true } | { readonly ok: false; readonly reason: StepRefusal };

const STEPPED: StepResult = { ok: true };

export class RawNode {
  /** The state of the core, for tests and checkers. Other code uses the methods only. */
  readonly raft: Raft;
  private readonly async: boolean;
  private lastSoftState: SoftState;
  private lastHardState: HardState;
  /** Messages to step once the current Ready is carried out; null between Readys. Unused with asynchronous writes. */
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

  /**
   * The leader known to this member, or NO_NODE. A learner does not campaign when its leader is silent, but has none either
   * after an election timeout without a word.
   */
  get leader(): NodeId {
    const { leader, electionElapsed, config, ownProgress } = this.raft;
    return ownProgress?.isLearner === true && electionElapsed >= config.electionTicks ? NO_NODE : leader;
  }

  /** Whether a leader was heard within the last election timeout: candidates are ignored then (CheckQuorum). */
  get hearsLeader(): boolean {
    return inLease(this.raft);
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
   * Whether a snapshot was received that storage has not acknowledged. Entries that were handed out before it are then
   * not applied, but their responses are delivered: the configuration is already the snapshot's, and its state will
   * replace the state machine.
   */
  get hasPendingSnapshot(): boolean {
    return this.raft.log.hasPendingSnapshot();
  }

  /** What the last message contradicted, when step() refused it with "contradiction"; null otherwise. */
  get contradiction(): Contradiction | null {
    return this.raft.contradiction;
  }

  /** The number of refused messages by reason. */
  get refusedMessages(): ReadonlyMap<StepRefusal, number> {
    return this.refused;
  }

  /** One unit of time; see RaftConfig.electionTicks. */
  tick(): void {
    this.raft.tick();
  }

  /**
   * How much longer than its election timeout this member waits before it campaigns by itself, in ticks; 0 at first. It
   * still votes, and campaigns at a leader's request. For a member that should lead only when no other can.
   */
  setCampaignDelay(ticks: number): void {
    this.raft.campaignDelay = ticks;
  }

  /**
   * Starts an election now, with PreVote where that is on. No effect on a leader, or on a member that may not campaign.
   */
  campaign(): void {
    campaignByConfig(this.raft);
  }

  /** Proposes entries for the state machine, at least one: all or none are appended, with consecutive indexes. */
  propose(data: readonly Uint8Array[]): ProposeResult {
    assert(data.length > 0, "an empty proposal");
    return propose(this.raft, data);
  }

  /**
   * Proposes a configuration change. When the leader's checks refuse it, an empty entry is appended in its place and
   * the refusal is returned. A follower that forwards the change does not learn of a refusal.
   */
  proposeConfChange(change: ConfChange, type: EntryType = EntryType.ConfChangeV2): ConfChangeResult {
    assert(type !== EntryType.Normal, "a configuration change in a normal entry");
    return proposeConfChange(this.raft, change, type);
  }

  /** Takes a message of a peer. Never throws, whatever the message holds; refusals are counted. */
  step(m: Message): StepResult {
    return this.count(checkPeerMessage(this.raft, m) ?? this.raft.step(m));
  }

  /** Takes a message of this member: a response of the storage threads, or its own vote or acknowledgement. */
  stepLocal(m: Message): void {
    this.raft.step(m);
  }

  /**
   * Requests an index that is safe to read at. It is returned in Ready.readStates at most once; when it does not
   * arrive, ask again with a new context.
   * @param context unsigned 64-bit, not zero, never used before on any member
   * @returns ok false when no leader is known, or this leader has too many reads waiting
   */
  readIndex(context: bigint): { readonly ok: boolean } {
    assert(context > 0n, "a read without a context");
    return { ok: startRead(this.raft, context) === null };
  }

  /** Requests that leadership be transferred to `to`. There is no answer: the outcome shows in `leader`. */
  transferLeader(to: NodeId): void {
    if (this.raft.role === Role.Leader) this.raft.transferLeader(to);
    else forwardTransfer(this.raft, to);
  }

  /** Makes a follower forget its leader, so that it grants votes. Its term stays the same. */
  forgetLeader(): void {
    forgetLeader(this.raft);
  }

  /** Membership changes in this log that are not known to be committed, oldest first. */
  uncommittedChanges(): ConfChange[] {
    const { log } = this.raft;
    const tail = log.slice(log.committed + 1, log.lastIndex() + 1, Infinity);
    if (typeof tail === "string") return [];
    return tail.flatMap(({ confChange }) => (confChange === null ? [] : [confChange]));
  }

  /** Whether ready() would return any work. */
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
      !this.softStateUnchanged() ||
      !this.hardStateUnchanged() ||
      log.nextUnstableSnapshot() !== null
    );
  }

  /**
   * Everything to be done now. Nothing in it is returned again. Without asynchronous writes advance() must be called
   * before the next ready().
   */
  ready(): Ready {
    assert(this.stepsOnAdvance === null, "ready() before advance()");
    const { raft } = this;
    const { log } = raft;
    if (raft.reads.wantsRound) broadcastHeartbeats(raft);
    const entries = log.nextUnstableEntries();
    const committedEntries = log.nextCommittedEntries(!this.async);
    const snapshot = log.nextUnstableSnapshot();
    const hardState = this.hardStateUnchanged() ? null : this.hardState();
    const softState = this.softStateUnchanged() ? null : { leader: raft.leader, role: raft.role };
    const mustSync = entries.length > 0 || !this.termAndVoteUnchanged();
    const readStates: readonly ReadState[] = raft.readStates;
    const messages = raft.messages;
    const afterAppend = raft.messagesAfterAppend;
    raft.messages = [];
    raft.messagesAfterAppend = [];
    if (readStates.length > 0) raft.readStates = [];
    if (this.async)
      this.addStorageWork(messages, afterAppend, entries, committedEntries, hardState, snapshot);
    else this.holdBack(messages, afterAppend, committedEntries, snapshot);
    if (softState !== null) this.lastSoftState = softState;
    if (hardState !== null) this.lastHardState = hardState;
    log.acceptUnstable();
    log.acceptApplying(committedEntries, !this.async);
    return { softState, hardState, readStates, entries, snapshot, committedEntries, messages, mustSync };
  }

  /** Confirms that the last Ready is carried out: written, synced, sent and applied. */
  advance(): void {
    assert(!this.async, "advance() with asynchronous storage writes");
    const steps = this.stepsOnAdvance;
    assert(steps !== null, "advance() without ready()");
    this.stepsOnAdvance = null;
    for (const m of steps) this.raft.step(m);
  }

  /**
   * Applies a committed configuration change. Called for each, in order, unless the state machine refused it.
   * @param index of its entry, so that a change that an installed snapshot already covers is ignored
   * @returns the configuration afterwards
   */
  applyConfChange(change: ConfChange, index?: number): ConfState {
    return applyConfChange(this.raft, change, index);
  }

  /** Reports that a message to `id` was lost. */
  reportUnreachable(id: NodeId): void {
    this.raft.step(newMessage(MessageType.Unreachable, this.id, id, 0));
  }

  /** Reports whether the snapshot for `id` was delivered. */
  reportSnapshot(id: NodeId, ok: boolean): void {
    const m = newMessage(MessageType.SnapshotStatus, this.id, id, 0);
    m.reject = !ok;
    this.raft.step(m);
  }

  /** A copy of the state for observers. */
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

  private termAndVoteUnchanged(): boolean {
    return this.raft.term === this.lastHardState.term && this.raft.vote === this.lastHardState.vote;
  }

  private hardStateUnchanged(): boolean {
    return this.termAndVoteUnchanged() && this.raft.log.committed === this.lastHardState.commit;
  }

  private softStateUnchanged(): boolean {
    return this.raft.leader === this.lastSoftState.leader && this.raft.role === this.lastSoftState.role;
  }

  /** Asynchronous writes: adds the messages for the storage threads to `messages`. */
  private addStorageWork(
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
      // Last: this response removes entries from the unstable tail, whose terms the others still read.
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

  /** Synchronous writes: messages to others are sent with this Ready, those to this member are stepped by advance(). */
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
   * The append thread's response: everything unstable now is on disk. It carries the current term and is ignored in a
   * later one. It names the last unstable entry even when this write holds none, so that it also replaces the ignored
   * response of an earlier write.
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
