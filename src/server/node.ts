/**
 * The loop of one member, and the only holder of its RawNode: input (ticks, peers' messages, proposals, reads, finished
 * writes) goes into the core, and each Ready is carried out: send, write, apply, answer.
 *
 * Order within one Ready: peers' messages leave first (they do not depend on the write, see DESIGN "Disk"), then the
 * write is queued, then committed entries are applied. What depends on the write travels as its responses and leaves
 * when the write is durable.
 *
 * Everything that is not deterministic is passed in (clock, randomness, storage, transport, deferral), so that a test
 * and a simulation run this same loop.
 */
import {
  EntryType,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  MessageType,
  NO_NODE,
  RawNode,
  Role,
  newMessage,
} from "../raft/index";
import type {
  ConfChangeResult,
  Message,
  NodeId,
  RandomSource,
  RaftStatus,
  Ready,
  Snapshot,
} from "../raft/index";
import { confChange, encodeCommand } from "../roster/index";
import type { Roster } from "../roster/index";
import { Applier } from "./applier";
import type { SnapshotPolicy } from "./applier";
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import type { Storage, StorageError } from "../storage/storage";
import type { Clock, Timer } from "../base/clock";
import type { PeerAddress, Transport } from "../transport/transport";
import { ContactTracker } from "./contact";
import { Farewell } from "./farewell";
import type { Logger } from "./logger";
import { PeerSet } from "./peer_set";
import { ReadQueue } from "./reads";
import type { Read } from "./reads";
import { Waiters } from "./waiters";
import type { Settle } from "./waiters";
import { withoutEntries } from "./without_entries";

export interface NodeOptions {
  readonly storage: Storage;
  /** Restored from the storage's newest snapshot, or empty. */
  readonly roster: Roster;
  readonly transport: Transport;
  readonly clock: Clock;
  /** Runs a function soon, in a turn of its own: setImmediate in the product. */
  readonly defer: (fn: () => void) => void;
  readonly random: RandomSource;
  /** Random, nonzero: the first context of this life's reads. */
  readonly firstReadContext: bigint;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly snapshots: SnapshotPolicy;
  readonly restoreRoster: (snapshot: Snapshot) => Roster;
  readonly log: Logger;
}

/** What the rest of the server wants to hear. All called from inside the loop: they must not throw. */
export interface NodeListener {
  /** The leader, this member's role, or the term changed. */
  onLeadership?(): void;
  /** Entries were applied, or a snapshot was installed. */
  onApplied?(): void;
  /** One tick passed. */
  onTick?(): void;
  /** This member was removed: it stays until onDismissed, so that others can still have its vote. */
  onRemoved?(text: string): void;
  /** Nobody needs this removed member any more. `revision` is that of its removal, 0 when it only heard of it. */
  onDismissed?(revision: number): void;
  /** The member can't go on. */
  onFatal?(error: Error): void;
}

const BYTES_PER_APPEND_MAX = 1024 * 1024;
const APPENDS_IN_FLIGHT_MAX = 512;
/** Bytes proposed and not yet committed; beyond it proposals wait their turn. */
const UNCOMMITTED_BYTES_MAX = 64 * 1024 * 1024;
/** After a pause of the process, time lost is not made up for: at most this many ticks at once. */
const TICKS_AT_ONCE_MAX = 2;
/**
 * How far ahead of this member's term a peer's may be. With PreVote a term costs an election that a majority wants, so
 * a member that was away for years is not this far behind; whoever says so would only burn terms, of which there is an
 * end (a member that has none yet takes any).
 */
const TERM_LEAP_MAX = 2 ** 20;

interface QueuedProposal {
  readonly command: RosterCommand;
  readonly settle: Settle;
}

export class Node {
  readonly id: NodeId;
  readonly clusterId: bigint;
  readonly electionTicks: number;
  readonly contacts: ContactTracker;
  readonly waiters = new Waiters();

  private readonly raw: RawNode;
  private readonly reads: ReadQueue;
  private readonly listeners = new Set<NodeListener>();
  private readonly applier: Applier;
  private queued: QueuedProposal[] = [];
  private tickNow = 0;
  private lastTickMs: number;
  private timer: Timer | null = null;
  private turnScheduled = false;
  private stopped = false;
  private leaderSeen: NodeId = NO_NODE;
  private termSeen = 0;
  private roleSeen: Role = Role.Follower;
  private readonly peers: PeerSet;
  private farewell: Farewell | null = null;
  /** Membership changes that are applied, while the commit index that covers them is on its way to the disk. */
  private unsettledChanges = 0;

  constructor(private readonly options: NodeOptions) {
    const { storage, roster, heartbeatMs, electionMs } = options;
    this.id = storage.identity.memberId;
    this.clusterId = storage.identity.clusterId;
    this.peers = new PeerSet(this.id);
    this.electionTicks = Math.round(electionMs / heartbeatMs);
    this.contacts = new ContactTracker(this.electionTicks);
    this.reads = new ReadQueue(options.firstReadContext, Math.ceil(this.electionTicks / 2));
    this.lastTickMs = options.clock.now();
    this.raw = new RawNode({
      id: this.id,
      storage,
      random: options.random,
      trace: { info: (text) => options.log.debug({ member: this.id }, text) },
      electionTicks: this.electionTicks,
      heartbeatTicks: 1,
      applied: roster.appliedIndex,
      asyncStorageWrites: true,
      maxSizePerMessage: BYTES_PER_APPEND_MAX,
      maxInflightMessages: APPENDS_IN_FLIGHT_MAX,
      maxUncommittedSize: UNCOMMITTED_BYTES_MAX,
      checkQuorum: true,
      preVote: true,
      disableProposalForwarding: true,
      stepDownOnRemoval: true,
    });
    this.applier = new Applier({
      storage,
      roster,
      waiters: this.waiters,
      snapshots: options.snapshots,
      restoreRoster: options.restoreRoster,
      log: options.log,
      applyConfChange: (change, index) => {
        this.raw.applyConfChange(change, index);
      },
      confState: () => this.raw.status().confState,
      onRosterChange: () => {
        this.afterRosterChange();
      },
      onStorageError: (error) => {
        this.onStorageError(error);
      },
    });
  }

  // --- What the server may know -------------------------------------------------------------------------------------

  get roster(): Roster {
    return this.applier.roster;
  }
  get isLeader(): boolean {
    return this.raw.role === Role.Leader;
  }
  /** NO_NODE when none is known. */
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
    return this.roster.appliedIndex;
  }
  get lastIndex(): number {
    return this.raw.lastIndex;
  }
  /** Ticks since the start. */
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
    return this.queued.length + this.waiters.size;
  }
  /**
   * Whether a removed member may still be needed: its vote counts in a joint configuration, or this member could forget
   * in a crash that the removal is committed, and need that vote again.
   */
  isLeaving(id: NodeId): boolean {
    return this.unsettledChanges > 0 || this.raw.status().confState.votersOutgoing.includes(id);
  }
  /** Allocates; not for the hot path. */
  status(): RaftStatus {
    return this.raw.status();
  }

  /** The state machine as it stands, with the configuration at the same index. Copies: not for the hot path. */
  capture(): Snapshot {
    return this.applier.capture();
  }

  /** Returns what ends it. */
  listen(listener: NodeListener): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  // --- Start and stop -----------------------------------------------------------------------------------------------

  start(): void {
    this.options.storage.onFailure((error) => {
      this.onStorageError(error);
    });
    this.afterRosterChange();
    // A member that just started has heard no leader for longer than it can tell. Beginning one tick short of an election
    // timeout brings a cold cluster its leader sooner; PreVote keeps it from disturbing one that has a leader.
    for (let i = 1; i < this.electionTicks; i++) this.raw.tick();
    this.scheduleTick();
    this.schedule();
  }

  /** Nothing is taken or sent any more. Calls that wait for an entry are told that its outcome is unknown. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.timer?.cancel();
    const queued = this.queued;
    this.queued = [];
    for (const { settle } of queued) settle({ kind: "not-leader" });
    this.waiters.abandonAll();
  }

  // --- Input --------------------------------------------------------------------------------------------------------

  /** Messages from the member `from`, decoded and checked by the transport. */
  receive(from: NodeId, messages: readonly Message[]): void {
    this.take(() => {
      for (const message of messages) this.receiveOne(from, message);
    });
  }

  private receiveOne(from: NodeId, message: Message): void {
    const { log, clock } = this.options;
    if (this.raw.term > 0 && message.term > this.raw.term + TERM_LEAP_MAX) {
      log.warn({ from, term: message.term, own: this.raw.term }, "refused a term far ahead of this member's");
      return;
    }
    const taken = this.hasSpace ? message : withoutEntries(message);
    if (taken === null || (taken.snapshot !== null && !this.applier.canInstall(taken.snapshot))) return;
    this.raw.step(taken);
    if (taken.type === MessageType.Vote || taken.type === MessageType.PreVote) {
      this.farewell?.asked(this.tickNow);
    }
    const heardAsLeader = this.raw.role === Role.Leader && message.term === this.raw.term;
    if (heardAsLeader && this.roster.member(from) !== null) {
      this.contacts.heard(from, this.tickNow, clock.now());
    }
  }

  /** A peer refused this member as removed. @param id NO_NODE when nobody knows which */
  toldRemoved(id: NodeId, text: string): void {
    if (this.stopped) return;
    this.beginFarewell(text).knows(id);
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

  /** Gives the core input. What it throws is a broken invariant: this member ends, the process does not just die of it. */
  private take(input: () => void): void {
    if (this.stopped) return;
    try {
      input();
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    }
    this.schedule();
  }

  /** A stream came from a member that the roster does not have (yet): answers need its address. */
  meet(peer: PeerAddress): void {
    if (this.peers.meet(peer, this.roster)) this.syncPeers();
  }

  /** Proposes a command that changes no configuration. `settle` is called once, unless the waiter is forgotten. */
  propose(command: RosterCommand, settle: Settle): void {
    if (this.stopped || !this.isLeader) {
      settle({ kind: "not-leader" });
      return;
    }
    this.queued.push({ command, settle });
    this.schedule();
  }

  /** Takes back a proposal that has not been appended. False: it is in the log, or was settled. */
  withdraw(proposalId: bigint): boolean {
    const at = this.queued.findIndex(({ command }) => command.proposalId === proposalId);
    if (at < 0) return false;
    this.queued.splice(at, 1);
    return true;
  }

  /** Whether a membership change may be proposed now: none is pending, and the configuration is not joint. */
  get confChangeAllowed(): boolean {
    const { pendingConfIndex, applied, confState } = this.raw.status();
    return pendingConfIndex <= applied && confState.votersOutgoing.length === 0;
  }

  /** Proposes a membership change. Returns the core's refusal, or null when it was appended. */
  proposeConfChange(command: RosterCommand, settle: Settle): ConfChangeResult {
    const change = confChange(this.roster, command);
    if (change === null)
      return { ok: false, reason: "refused", refusal: "invalid", detail: "not a membership change" };
    const result = this.raw.proposeConfChange(change, EntryType.ConfChangeV2);
    if (result.ok) this.waiters.add(command.proposalId, command.requestId, result.index, settle);
    this.schedule();
    return result;
  }

  /** Asks to be told when everything committed before this call is applied here. */
  readIndex(done: () => void): Read {
    const read = this.reads.add(done);
    this.schedule();
    return read;
  }

  /** Hands leadership to `to`. Whether it worked shows in the leadership. */
  transferLeader(to: NodeId): void {
    if (this.stopped) return;
    this.raw.transferLeader(to);
    this.schedule();
  }

  // --- The loop -----------------------------------------------------------------------------------------------------

  private scheduleTick(): void {
    this.timer = this.options.clock.setTimeout(() => {
      if (this.stopped) return;
      const { heartbeatMs, clock } = this.options;
      const due = Math.floor((clock.now() - this.lastTickMs) / heartbeatMs);
      const ticks = Math.min(Math.max(due, 1), TICKS_AT_ONCE_MAX);
      this.lastTickMs = due > TICKS_AT_ONCE_MAX ? clock.now() : this.lastTickMs + ticks * heartbeatMs;
      for (let i = 0; i < ticks; i++) this.tick();
      this.scheduleTick();
    }, this.untilNextTick());
  }

  private untilNextTick(): number {
    return Math.max(1, this.lastTickMs + this.options.heartbeatMs - this.options.clock.now());
  }

  private tick(): void {
    this.tickNow++;
    this.raw.tick();
    this.reads.tick(this.tickNow);
    for (const listener of this.listeners) listener.onTick?.();
    if (this.farewell !== null) this.stayOrGo(this.farewell);
    this.schedule();
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
    try {
      this.proposeQueued();
      this.reads.pump(this.tickNow, (context) => this.raw.readIndex(context).ok);
      // `stopped` may change while a Ready is carried out.
      while (!this.isStopped() && this.raw.hasReady()) this.carryOut(this.raw.ready());
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  private isStopped(): boolean {
    return this.stopped;
  }

  private proposeQueued(): void {
    if (this.queued.length === 0) return;
    const queued = this.queued;
    this.queued = [];
    const result = this.raw.propose(queued.map(({ command }) => encodeCommand(command)));
    if (result.ok) {
      queued.forEach(({ command, settle }, i) => {
        this.waiters.add(command.proposalId, command.requestId, result.index + i, settle);
      });
    } else if (result.reason === "uncommitted-size" || result.reason === "transferring") {
      this.queued = queued; // their time comes when entries are committed, or the transfer ends
    } else {
      for (const { settle } of queued) settle({ kind: "not-leader" });
    }
  }

  private carryOut(ready: Ready): void {
    if (ready.softState !== null || ready.hardState !== null) this.noticeLeadership();
    if (ready.readStates.length > 0) this.reads.onReadStates(ready.readStates);

    const outgoing: Message[] = [];
    const local: Message[] = [];
    for (const message of ready.messages) {
      const isLocal = message.to === LOCAL_APPEND_THREAD || message.to === LOCAL_APPLY_THREAD;
      (isLocal ? local : outgoing).push(message);
    }
    if (outgoing.length > 0) this.options.transport.send(outgoing);
    for (const message of local) {
      if (message.type === MessageType.StorageAppend) this.write(message, ready.mustSync);
      else this.applyCommitted(message);
    }
    this.reads.onApplied(this.applied);
  }

  private write(message: Message, mustSync: boolean): void {
    const { entries, snapshot, responses } = message;
    // A term of 0 says that the hard state did not change.
    const hardState =
      message.term === 0 ? null : { term: message.term, vote: message.vote, commit: message.commit };
    this.options.storage.append(
      { hardState, entries, snapshot, mustSync: mustSync || snapshot !== null },
      (error) => {
        if (this.stopped) return;
        if (error !== null) {
          this.onStorageError(error);
          return;
        }
        try {
          if (snapshot !== null) this.install(snapshot);
          this.deliver(responses);
        } catch (thrown) {
          this.fail(thrown instanceof Error ? thrown : new Error(String(thrown)));
        }
        this.schedule();
      },
    );
  }

  private applyCommitted(message: Message): void {
    if (message.entries.some(({ type }) => type !== EntryType.Normal)) this.settleChange();
    this.applier.applyAll(message.entries);
    this.deliver(message.responses);
    this.afterApply();
  }

  private install(snapshot: Snapshot): void {
    this.applier.install(snapshot);
    this.afterApply();
  }

  private afterApply(): void {
    this.reads.onApplied(this.applied);
    for (const listener of this.listeners) listener.onApplied?.();
  }

  private deliver(responses: readonly Message[]): void {
    const outgoing: Message[] = [];
    for (const response of responses) {
      if (response.to === this.id) this.raw.stepLocal(response);
      else outgoing.push(response);
    }
    if (outgoing.length > 0) this.options.transport.send(outgoing);
  }

  // --- Apply --------------------------------------------------------------------------------------------------------

  private afterRosterChange(): void {
    this.syncPeers();
    if (this.roster.tombstone(this.id) === null || this.isLeaving(this.id)) return;
    this.beginFarewell("this member was removed from the cluster");
  }

  /**
   * A membership change is applied only with its commit index on its way to the disk, and counts as known once it is
   * there: after a crash this member must not need a majority that has gone.
   */
  private settleChange(): void {
    this.unsettledChanges++;
    this.options.storage.append({ hardState: null, entries: [], snapshot: null, mustSync: true }, (error) => {
      this.unsettledChanges--;
      if (this.stopped) return;
      if (error !== null) {
        this.onStorageError(error);
        return;
      }
      this.afterRosterChange();
      for (const listener of this.listeners) listener.onApplied?.();
    });
  }

  // --- Being removed ------------------------------------------------------------------------------------------------

  private beginFarewell(text: string): Farewell {
    if (this.farewell === null) {
      this.farewell = new Farewell(this.tickNow, this.electionTicks);
      for (const listener of this.listeners) listener.onRemoved?.(text);
    }
    return this.farewell;
  }

  private stayOrGo(farewell: Farewell): void {
    const voters = this.raw.status().confState.voters.filter((id) => id !== this.id);
    if (farewell.isOver(this.tickNow, voters)) {
      const revision = this.roster.tombstone(this.id)?.revision ?? 0;
      for (const listener of this.listeners) listener.onDismissed?.(revision);
      return;
    }
    // Says nothing, but whoever knows of the removal refuses it.
    this.options.transport.send(
      farewell
        .waitsFor(voters)
        .map((id) => newMessage(MessageType.HeartbeatResponse, id, this.id, this.term)),
    );
  }

  private syncPeers(): void {
    this.options.transport.setPeers(
      this.peers.addresses(this.roster, this.raw.status().confState.votersOutgoing),
    );
  }

  // --- Notices ------------------------------------------------------------------------------------------------------

  private noticeLeadership(): void {
    const { leader, term, role } = this.raw;
    if (leader === this.leaderSeen && term === this.termSeen && role === this.roleSeen) return;
    const becameLeader = role === Role.Leader && (this.roleSeen !== Role.Leader || term !== this.termSeen);
    const leaderChanged = leader !== this.leaderSeen;
    this.leaderSeen = leader;
    this.termSeen = term;
    this.roleSeen = role;
    if (becameLeader) this.contacts.reset();
    if (leaderChanged) {
      this.reads.restart();
      this.options.log.leaderChange({ term, index: this.raw.lastIndex, leader, isSelf: leader === this.id });
    }
    if (role !== Role.Leader && this.queued.length > 0) {
      const queued = this.queued;
      this.queued = [];
      for (const { settle } of queued) settle({ kind: "not-leader" });
    }
    for (const listener of this.listeners) listener.onLeadership?.();
  }

  private onStorageError(error: StorageError): void {
    // A snapshot that finds no space is taken again when there is some; the log itself waits without an error.
    if (this.stopped || error.reason !== "io") return;
    this.fail(error);
  }

  private fail(error: Error): void {
    if (this.stopped) return;
    this.stop();
    for (const listener of this.listeners) listener.onFatal?.(error);
  }
}
