/** Passes every change to the invariants, with one list per kind of change, so that an invariant gets only its own. */
import type { ApplyResult, Roster } from "../../src/roster/index";
import { Role } from "../../src/raft/index";
import type { ConfChange, Entry, Message, NodeId, Snapshot } from "../../src/raft/index";
import type { AppendBatch, Storage } from "../../src/storage/storage";
import { CoverageObserver } from "./coverage_observer";
import { AnsweredTransferLeads } from "./invariants/answered_transfer_leads";
import { invariants } from "./invariants/index";
import { Interrupted } from "./interrupted";
import type { Member } from "./member";
import type { MemberState, Observer, RaftInside, RosterBefore } from "./observer";
import { ClusterRecord } from "./record";
import { Violation } from "./violation";
import type { World } from "./world";

export class Checkers {
  readonly record = new ClusterRecord();
  readonly transfers: AnsweredTransferLeads;
  private readonly observers: readonly Observer[];
  private readonly states = new WeakMap<Member, MemberState>();

  constructor(private readonly world: World) {
    this.transfers = new AnsweredTransferLeads(world);
    this.observers = [
      world.log,
      ...invariants(world, this.record, this.transfers),
      new CoverageObserver(world),
      new Interrupted(world),
      world.moments,
    ];
  }

  /** A log was opened. The first time, it contains the entries with which the directory was created. */
  opened(member: Member, storage: Storage): void {
    const { host } = member;
    if (host.directorySeen) return;
    host.directorySeen = true;
    const entries = storage.entries(storage.firstIndex(), storage.lastIndex() + 1, Infinity);
    if (typeof entries === "string") throw new Error(`a new log can't be read: ${entries}`);
    this.tell((observer) => observer.made?.(member, entries));
  }

  started(member: Member): void {
    this.tell((observer) => observer.started?.(member));
    this.configured(member);
    this.states.set(member, stateOf(member, insideOf(member)));
  }

  ended(member: Member): void {
    if (this.states.has(member)) this.tell((observer) => observer.ended?.(member));
  }

  /** Called after every event that happened to this member. */
  step(member: Member): void {
    const before = this.states.get(member);
    if (before === undefined) return;
    const raft = insideOf(member);
    const { log } = raft;
    const { roster, applied } = member.replica;
    const last = log.lastIndex();
    const same =
      before.term === raft.term &&
      before.role === raft.role &&
      before.vote === raft.vote &&
      before.leader === raft.leader &&
      before.committed === log.committed &&
      before.applied === applied &&
      before.last === last &&
      before.transferee === raft.leaderTransferee &&
      before.config === raft.tracker.config;
    if (same) return;
    this.tell((observer) => observer.step?.(member, raft, before));
    if (before.config !== raft.tracker.config) this.configured(member);
    const { trace } = this.world;
    trace.mix(raft.term);
    trace.mix(raft.role);
    trace.mix(log.committed);
    trace.mix(applied);
    trace.mix(last);
    trace.mix(roster.revision);
    Object.assign(before, stateOf(member, raft));
  }

  private configured(member: Member): void {
    const { log, tracker } = insideOf(member);
    // While a snapshot is being installed, the core's configuration is ahead of the applied index.
    if (!log.hasPendingSnapshot()) this.record.configure(member.replica.applied, tracker.config.confState());
  }

  sent(member: Member, message: Message): void {
    this.tell((observer) => observer.sent?.(member, message));
  }

  appended(member: Member, batch: AppendBatch): void {
    this.tell((observer) => observer.appended?.(member, batch));
  }

  cut(member: Member, index: number, term: number): void {
    this.tell((observer) => observer.cut?.(member, index, term));
  }

  applied(member: Member, entry: Entry, result: ApplyResult, roster: Roster, before: RosterBefore): void {
    this.tell((observer) => observer.applied?.(member, entry, result, roster, before));
  }

  snapshot(member: Member, snapshot: Snapshot): void {
    this.tell((observer) => observer.snapshot?.(member, snapshot));
  }

  acknowledged(member: Member, requestId: string, revision: number, appliedIndex: number): void {
    this.tell((observer) => observer.acknowledged?.(member, requestId, revision, appliedIndex));
  }

  received(member: Member, from: NodeId, batch: readonly Message[]): void {
    this.tell((observer) => observer.received?.(member, from, batch));
  }

  changeProposed(member: Member, change: ConfChange): void {
    this.tell((observer) => observer.changeProposed?.(member, change));
  }

  /**
   * Calls every observer, so that all invariants that an event breaks are reported. A violation ends the run through the
   * world; it is not thrown into the member in whose turn it was found, which would handle it as a failure of its own.
   */
  private tell(ask: (observer: Observer) => void): void {
    const { world } = this;
    if (world.failure !== null) return;
    for (const observer of this.observers) {
      try {
        ask(observer);
      } catch (error) {
        if (error instanceof Violation) world.broken.add(error.invariant);
        world.fail(error);
      }
    }
  }
}

/** The private state of the member's Raft core. */
export function insideOf(member: Member): RaftInside {
  return member.replica["raw"].raft;
}

function stateOf({ replica }: Member, raft: RaftInside): MemberState {
  return {
    term: raft.term,
    vote: raft.vote,
    role: raft.role,
    leader: raft.leader,
    committed: raft.log.committed,
    applied: replica.applied,
    last: raft.log.lastIndex(),
    revision: replica.roster.revision,
    transferee: raft.leaderTransferee,
    config: raft.tracker.config,
  };
}

export function isLeader(raft: RaftInside): boolean {
  return raft.role === Role.Leader;
}
