/**
 * One member's copy of the log, and the only holder of its RawNode: input (ticks, peers' messages, proposals, reads,
 * finished writes) goes into the core, and each Ready is carried out: send, write, apply, answer.
 *
 * Order within one Ready: peers' messages leave first (they do not depend on the write, see docs/raft.md), then the
 * write is queued, then committed entries are applied. What depends on the write travels as its responses and leaves
 * when the write is durable.
 *
 * Everything that is not deterministic is passed in (clock, randomness, storage, transport, deferral), so that a test
 * and a simulation run this same loop. What a listener, a timer or a callback throws inside the loop is a broken
 * invariant: the member ends by onFatal, and the process does not just die of it.
 */
import { EntryType, MessageType, Role } from "../raft/index";
import type {
  RawNode,
  ConfChange,
  ConfChangeResult,
  Message,
  NodeId,
  RaftStatus,
  Ready,
  Snapshot,
} from "../raft/index";
import type { RosterView } from "../roster/index";
import type { Storage, StorageError } from "../storage/storage";
import type { PeerAddress } from "../transport/transport";
import { Applier } from "./applier";
import { ContactTracker, isAnswer } from "./contact";
import { createCore } from "./core";
import { Departure } from "./departure";
import { Disks } from "./disks";
import { EntryCheck } from "./entry_check";
import { FirstElection } from "./first_election";
import { Inbound } from "./inbound";
import { Leadership } from "./leadership";
import { Listeners, asError } from "./listeners";
import { Machines } from "./machines";
import type { ReplicaOptions } from "./options";
import { PeerSet } from "./peer_set";
import { ProposalQueue } from "./proposal_queue";
import type { Proposal } from "./proposal_queue";
import { ReadRounds } from "./read_rounds";
import type { Read } from "./read_rounds";
import { byReceiver, writeOf } from "./ready";
import { removes } from "./removal";
import { Ticker } from "./ticker";
import type { ReplicaListener, ReplicaView } from "./view";
import { Waiters } from "./waiters";
import type { Settle } from "./waiters";

export class Replica implements ReplicaView {
  readonly id: NodeId;
  readonly clusterId: bigint;
  readonly electionTicks: number;
  readonly contacts: ContactTracker;
  readonly disks: Disks;

  private readonly raw: RawNode;
  private readonly waiters = new Waiters();
  private readonly proposals = new ProposalQueue(this.waiters);
  private readonly reads: ReadRounds;
  private readonly listeners: Listeners;
  private readonly machines: Machines;
  private readonly applier: Applier;
  private readonly leadership: Leadership;
  private readonly ticker: Ticker;
  private readonly peers: PeerSet;
  private readonly departure: Departure;
  private readonly firstElection = new FirstElection();
  readonly inbound: Inbound;
  private tickNow = 0;
  private turnScheduled = false;
  private stopped = false;
  /** Membership changes that are applied, while the commit index that covers them is on its way to the disk. */
  private unsettledChanges = 0;

  /** Restores the state machines from the storage's newest snapshot. @throws what a machine's restore throws */
  constructor(private readonly options: ReplicaOptions) {
    const { storage, heartbeatMs, electionMs, log } = options;
    this.id = storage.identity.memberId;
    this.clusterId = storage.identity.clusterId;
    this.electionTicks = Math.round(electionMs / heartbeatMs);
    this.contacts = new ContactTracker(this.electionTicks);
    this.disks = new Disks(options, this.electionTicks);
    this.peers = new PeerSet(this.id);
    this.inbound = new Inbound({
      core: () => this.raw,
      ticks: () => this.tickNow,
      electionTicks: this.electionTicks,
      hasSpace: () => this.hasSpace,
      canInstall: (snapshot) => this.applier.canInstall(snapshot),
      isMember: (id) => this.roster.member(id) !== null,
      onRegressed: (id) => {
        this.listeners.tell((listener) => listener.onRegressed?.(id));
      },
      entries: new EntryCheck(log),
      log,
    });
    this.listeners = new Listeners(log);
    this.departure = new Departure({
      member: this,
      otherVoters: this.otherVoters.bind(this),
      transport: options.transport,
      listeners: this.listeners,
    });
    this.leadership = new Leadership(this.id, log);
    this.reads = new ReadRounds(options.firstReadContext, Math.ceil(this.electionTicks / 2));
    this.ticker = new Ticker(options.clock, heartbeatMs, () => {
      this.take(() => {
        this.tick();
      });
    });
    this.machines = new Machines(options.membership, options.machines);
    this.applier = new Applier({
      storage,
      machines: this.machines,
      waiters: this.waiters,
      snapshots: options.snapshots,
      log,
      applyConfChange: (change, index) => {
        this.raw.applyConfChange(change, index);
      },
      confState: () => this.raw.status().confState,
      id: this.id,
      defer: options.defer,
      guard: this.guard.bind(this),
      onMembershipChange: this.afterMembershipChange.bind(this),
      onStorageError: this.onStorageError.bind(this),
    });
    this.raw = createCore({
      ...options,
      id: this.id,
      electionTicks: this.electionTicks,
      applied: this.applier.applied,
    });
  }

  // --- ReplicaView --------------------------------------------------------------------------------------------------

  get roster(): RosterView {
    return this.machines.roster;
  }
  get isLeader(): boolean {
    return this.raw.role === Role.Leader;
  }
  get leader(): NodeId {
    return this.raw.leader;
  }
  get term(): number {
    return this.raw.term;
  }
  get committed(): number {
    return this.raw.committed;
  }
  get applied(): number {
    return this.applier.applied;
  }
  get lastIndex(): number {
    return this.raw.lastIndex;
  }
  get ticks(): number {
    return this.tickNow;
  }
  get hasSpace(): boolean {
    return this.options.storage.hasSpace();
  }
  get readsWaiting(): number {
    return this.reads.size;
  }
  get writesWaiting(): number {
    return this.proposals.size + this.waiters.size;
  }
  get mayBeRemoved(): boolean {
    return removes(this.raw.uncommittedChanges(), this.id);
  }
  isLeaving(id: NodeId): boolean {
    return this.unsettledChanges > 0 || this.raw.status().confState.votersOutgoing.includes(id);
  }
  status(): RaftStatus {
    return this.raw.status();
  }
  capture(done: (snapshot: Snapshot) => void): () => void {
    return this.applier.capture(done);
  }
  /** Where calls to a member go; null when the roster does not list it. */
  peerUrl(id: NodeId): string | null {
    return this.peers.urlOf(id, this.roster);
  }
  listen(listener: ReplicaListener): () => void {
    return this.listeners.add(listener);
  }

  // --- Start and stop -----------------------------------------------------------------------------------------------

  start(): void {
    this.options.storage.onFailure(this.onStorageError.bind(this));
    this.afterMembershipChange();
    this.ticker.start();
    this.schedule();
  }

  /** Nothing is taken or sent any more. Calls that wait for an entry end as "unknown". */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.ticker.stop();
    this.listeners.attempt(() => {
      this.proposals.refuseAll();
      this.waiters.abandonAll();
    });
  }

  // --- Input --------------------------------------------------------------------------------------------------------

  /** Messages from the member `from`, decoded and checked by the transport. */
  receive(from: NodeId, messages: readonly Message[]): void {
    this.take(() => {
      this.contacts.receivedFrom(from, this.options.clock.now());
      for (const message of messages) this.receiveOne(from, message);
    });
  }

  private receiveOne(from: NodeId, message: Message): void {
    const taken = this.inbound.step(from, message);
    if (taken === null) return;
    if (taken.type === MessageType.Vote || taken.type === MessageType.PreVote) this.departure.asked();
    const heardAsLeader = this.isLeader && message.term === this.raw.term && isAnswer(message);
    if (heardAsLeader && this.roster.member(from) !== null)
      this.contacts.heard(from, this.tickNow, this.options.clock.now());
  }

  /** These members say that this one was removed, and enough of them do: it begins to leave. */
  leaveOnWordOf(members: readonly NodeId[], text: string): void {
    this.take(() => {
      this.departure.begin(text, members);
    });
  }

  /** `id` refused this member as removed. */
  refusedAsRemoved(id: NodeId): void {
    this.departure.knows(id);
  }

  /** A peer accepted this member's stream. */
  reaches(id: NodeId): void {
    this.firstElection.reaches(id);
    this.take(() => {
      this.campaignFirst();
    });
  }

  reportUnreachable(id: NodeId): void {
    this.take(() => {
      this.raw.reportUnreachable(id);
    });
  }

  reportSnapshot(id: NodeId, delivered: boolean): void {
    this.take(() => {
      this.raw.reportSnapshot(id, delivered);
    });
  }

  /** A stream came from a member that the roster does not list yet, or lists elsewhere: answers need its address. */
  addProvisionalPeer(peer: PeerAddress): void {
    this.guard(() => {
      if (this.peers.addProvisional(peer, this.roster)) this.syncPeers();
    });
  }

  /** Proposes a command that changes no configuration. Settled inside this call when this member does not lead. */
  propose(proposal: Proposal): void {
    this.proposals.add(proposal);
    if (!this.stopped && this.isLeader) {
      this.schedule();
      return;
    }
    this.guard(() => {
      this.proposals.refuseAll();
    });
  }

  /** Takes back a proposal that has not been appended. False: it is in the log, or was settled. */
  withdraw(proposalId: bigint): boolean {
    return this.proposals.withdraw(proposalId);
  }

  /** Whether an entry of this proposal was appended and its outcome is open. */
  isAppended(proposalId: bigint): boolean {
    return this.waiters.has(proposalId);
  }

  /** Nobody waits for this proposal any more; its entry may still be committed. */
  forget(proposalId: bigint): void {
    this.waiters.forget(proposalId);
  }

  /** Whether a membership change may be proposed now: none is pending, and the configuration is not joint. */
  get confChangeAllowed(): boolean {
    const { pendingConfIndex, applied, confState } = this.raw.status();
    return pendingConfIndex <= applied && confState.votersOutgoing.length === 0;
  }

  /**
   * Proposes a membership change. `settle` is called only when it was appended. A member that has stopped, or that the
   * change ends, answers as one that does not lead.
   */
  proposeConfChange(proposalId: bigint, change: ConfChange, settle: Settle): ConfChangeResult {
    let result: ConfChangeResult = { ok: false, reason: "not-leader" };
    this.take(() => {
      result = this.raw.proposeConfChange(change, EntryType.ConfChangeV2);
      if (result.ok) this.waiters.add(proposalId, result.index, settle);
    });
    return result;
  }

  /** Calls `done` when everything committed before this call is applied here. */
  readIndex(done: () => void): Read {
    const read = this.reads.add(done);
    this.schedule();
    return read;
  }

  /** Hands leadership to `to`. Whether it worked shows in the leadership. */
  transferLeader(to: NodeId): void {
    this.take(() => {
      this.raw.transferLeader(to);
    });
  }

  // --- The loop -----------------------------------------------------------------------------------------------------

  /** Gives the core input, and schedules a turn. Nothing on a member that has stopped. */
  private take(input: () => void): void {
    if (this.stopped) return;
    this.guard(input);
    this.schedule();
  }

  /** For all that is called from outside a caller's own promise: what is thrown ends the member, by onFatal. */
  guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.fail(asError(error));
    }
  }

  private tick(): void {
    this.tickNow++;
    this.disks.tick();
    this.raw.setCampaignDelay(this.disks.campaignDelayTicks(() => this.otherVoters()));
    this.raw.tick();
    // A learner forgets a silent leader without a Ready.
    if (this.raw.role === Role.Follower) this.noticeLeadership();
    this.reads.tick(this.tickNow);
    this.listeners.tell((listener) => listener.onTick?.());
    this.departure.tick();
  }

  /** Makes sure that a turn follows: all input of this turn of the event loop is handled at once. */
  private schedule(): void {
    if (this.turnScheduled || this.stopped) return;
    this.turnScheduled = true;
    this.options.defer(() => {
      this.turnScheduled = false;
      this.turn();
    });
  }

  private turn(): void {
    if (this.stopped) return;
    this.guard(() => {
      this.proposals.appendAll((entries) => this.raw.propose(entries));
      this.reads.pump(this.tickNow, (context) => this.raw.readIndex(context).ok);
      // `stopped` may change while a Ready is carried out.
      while (!this.isStopped() && this.raw.hasReady()) this.carryOut(this.raw.ready());
    });
  }

  private isStopped(): boolean {
    return this.stopped;
  }

  private carryOut(ready: Ready): void {
    if (ready.softState !== null || ready.hardState !== null) this.noticeLeadership();
    if (ready.readStates.length > 0) this.reads.onReadStates(ready.readStates);

    const { outgoing, local } = byReceiver(ready.messages);
    if (outgoing.length > 0) this.options.transport.send(outgoing);
    for (const message of local) {
      if (message.type === MessageType.StorageAppend) this.write(message, ready.mustSync);
      else this.applyCommitted(message);
    }
    this.reads.onApplied(this.applied);
  }

  private write(message: Message, mustSync: boolean): void {
    const { snapshot, responses } = message;
    this.append(writeOf(message, mustSync), () => {
      if (snapshot !== null) {
        this.applier.install(snapshot);
        this.afterApply();
      }
      this.deliver(responses);
    });
  }

  /** Writes, and goes on once it is durable. What can't be written ends the member. */
  private append(batch: Parameters<Storage["append"]>[0], then: () => void): void {
    this.options.storage.append(batch, (error) => {
      if (this.stopped) return;
      if (error !== null) this.onStorageError(error);
      else this.take(then);
    });
  }

  private applyCommitted(message: Message): void {
    if (message.entries.some(({ type }) => type !== EntryType.Normal)) this.settleChange();
    this.applier.applyAll(message.entries);
    this.deliver(message.responses);
    this.afterApply();
  }

  private campaignFirst(): void {
    const isReady = this.hasSpace && this.applied === this.committed;
    if (isReady && this.firstElection.isDue(() => this.raw.status())) this.raw.campaign();
  }

  private afterApply(): void {
    this.campaignFirst();
    this.reads.onApplied(this.applied);
    this.listeners.tell((listener) => listener.onApplied?.());
  }

  private deliver(responses: readonly Message[]): void {
    const outgoing: Message[] = [];
    for (const response of responses) {
      if (response.to === this.id) this.raw.stepLocal(response);
      else outgoing.push(response);
    }
    if (outgoing.length > 0) this.options.transport.send(outgoing);
  }

  // --- Membership ---------------------------------------------------------------------------------------------------

  private afterMembershipChange(): void {
    this.syncPeers();
    if (this.roster.tombstone(this.id) === null || this.isLeaving(this.id)) return;
    this.departure.begin("this member was removed from the cluster");
  }

  /**
   * A membership change is applied only with its commit index on its way to the disk, and counts as known once it is
   * there: after a crash this member must not need a majority that has gone.
   */
  private settleChange(): void {
    this.unsettledChanges++;
    this.append({ hardState: null, entries: [], snapshot: null, mustSync: true }, () => {
      this.unsettledChanges--;
      this.afterMembershipChange();
      this.listeners.tell((listener) => listener.onApplied?.());
    });
  }

  private syncPeers(): void {
    const { votersOutgoing } = this.raw.status().confState;
    this.contacts.retain((id) => this.roster.member(id) !== null);
    this.options.transport.setPeers(this.peers.addresses(this.roster, votersOutgoing));
  }

  private otherVoters(): readonly NodeId[] {
    return this.raw.status().confState.voters.filter((id) => id !== this.id);
  }

  // --- Notices ------------------------------------------------------------------------------------------------------

  private noticeLeadership(): void {
    const change = this.leadership.notice(this.raw);
    if (change === null) return;
    if (change.becameLeader) this.contacts.reset();
    if (change.leaderChanged) this.reads.restart();
    if (!this.isLeader) this.proposals.refuseAll();
    this.listeners.tell((listener) => listener.onLeadership?.());
  }

  private onStorageError(error: StorageError): void {
    // A snapshot that finds no space is taken again when there is some; the log itself waits without an error.
    if (this.stopped || error.reason !== "io") return;
    this.fail(error);
  }

  /** Ends this member by onFatal: going on would give wrong answers. */
  fail(error: Error): void {
    if (this.stopped) return;
    this.stop();
    this.listeners.fatal(error);
  }
}
