/** Hands what happens to every invariant; one list per kind of change, so that each is asked only what it looks at. */
import type { ApplyResult, Roster } from "../../src/roster/index";
import { Role } from "../../src/raft/index";
import type { Entry, Message, Snapshot } from "../../src/raft/index";
import type { AppendBatch } from "../../src/storage/storage";
import { CoverageObserver } from "./coverage_observer";
import { invariants } from "./invariants/index";
import type { Member } from "./member";
import type { MemberState, Observer, RaftInside } from "./observer";
import type { WriteOperation } from "./operations";
import { ClusterRecord } from "./record";
import { Violation } from "./violation";
import type { World } from "./world";

export class Checkers {
  readonly record = new ClusterRecord();
  private readonly observers: readonly Observer[];
  private readonly states = new WeakMap<Member, MemberState>();

  constructor(private readonly world: World) {
    this.observers = [...invariants(world, this.record), new CoverageObserver(world), world.moments];
  }

  born(member: Member, entries: readonly Entry[]): void {
    this.tell((observer) => observer.born?.(member, entries));
  }

  started(member: Member): void {
    this.tell((observer) => observer.started?.(member));
    this.configured(member);
    this.states.set(member, stateOf(member, insideOf(member)));
  }

  /** Called after every event that happened to this member. */
  step(member: Member): void {
    const before = this.states.get(member);
    if (before === undefined) return;
    const raft = insideOf(member);
    const { log } = raft;
    const { roster } = member.node;
    const last = log.lastIndex();
    const same =
      before.term === raft.term &&
      before.role === raft.role &&
      before.vote === raft.vote &&
      before.leader === raft.leader &&
      before.committed === log.committed &&
      before.applied === roster.appliedIndex &&
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
    trace.mix(roster.appliedIndex);
    trace.mix(last);
    trace.mix(roster.revision);
    Object.assign(before, stateOf(member, raft));
  }

  private configured(member: Member): void {
    const { log, tracker } = insideOf(member);
    // A snapshot that is not installed yet has changed the configuration already.
    if (!log.hasPendingSnapshot()) this.record.configure(member.node.applied, tracker.config.confState());
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

  applied(member: Member, entry: Entry, result: ApplyResult, roster: Roster): void {
    this.tell((observer) => observer.applied?.(member, entry, result, roster));
  }

  snapshot(member: Member, snapshot: Snapshot): void {
    this.tell((observer) => observer.snapshot?.(member, snapshot));
  }

  acknowledged(member: Member, operation: WriteOperation, revision: number, appliedIndex: number): void {
    this.tell((observer) => observer.acknowledged?.(member, operation, revision, appliedIndex));
  }

  /**
   * Asks every observer, so that all invariants that an event breaks are known. A violation ends the run, and must not
   * look like a failure of the member in whose turn it was seen.
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

/** The core's own state. */
export function insideOf(member: Member): RaftInside {
  return member.node["raw"].raft;
}

function stateOf({ node }: Member, raft: RaftInside): MemberState {
  return {
    term: raft.term,
    vote: raft.vote,
    role: raft.role,
    leader: raft.leader,
    committed: raft.log.committed,
    applied: node.roster.appliedIndex,
    last: raft.log.lastIndex(),
    revision: node.roster.revision,
    transferee: raft.leaderTransferee,
    config: raft.tracker.config,
  };
}

export function isLeader(raft: RaftInside): boolean {
  return raft.role === Role.Leader;
}
