/** Replicas with a roster and a counter on one log, connected in memory. Time passes tick by tick. */
import { RosterMachine } from "../../../src/cluster/roster_machine";
import { NO_NODE, SeededRandom } from "../../../src/raft/index";
import { DEFAULT_SNAPSHOT_POLICY } from "../../../src/replica/applier";
import type { SnapshotPolicy } from "../../../src/replica/applier";
import { Replica } from "../../../src/replica/replica";
import type { MachineNumber, StateMachine } from "../../../src/replica/state_machine";
import type { Committed } from "../../../src/replica/waiters";
import type { Outcome } from "../../../src/base/outcome";
import { confChange, encodeCommand } from "../../../src/roster/index";
import type { Decision, RosterCommand } from "../../../src/roster/index";
import { ManualClock } from "../../base/support/manual_clock";
import { COUNTER, Counter, additionEntry } from "./counter";
import { CLUSTER_ID, foundingStorage } from "./first_log";
import { ListLog } from "./list_log";
import { MemoryNetwork } from "./memory_network";
import type { MemoryTransport } from "./memory_network";
import type { TestStorage } from "./test_storage";
import { WorkQueue } from "./work_queue";

export const HEARTBEAT_MS = 100;
export const ELECTION_TICKS = 10;

export interface GroupMember {
  readonly id: bigint;
  readonly storage: TestStorage;
  readonly rosterMachine: RosterMachine;
  readonly counter: Counter;
  readonly replica: Replica;
  readonly transport: MemoryTransport;
  readonly log: ListLog;
  readonly fatal: Error[];
  readonly removed: string[];
  readonly dismissed: number[];
}

export interface GroupOptions {
  readonly size?: number;
  readonly snapshots?: Partial<SnapshotPolicy>;
  /** Members that have no counter. @default none */
  readonly without?: readonly number[];
}

export class ReplicaGroup {
  readonly clock = new ManualClock();
  readonly queue = new WorkQueue();
  readonly network = new MemoryNetwork(this.queue);
  readonly members = new Map<number, GroupMember>();
  /** Whether members answer a removed one that it was removed. */
  refusesRemoved = true;
  private lastProposal = 100n;

  constructor(private readonly options: GroupOptions = {}) {
    const { size = 1 } = options;
    for (let n = 1; n <= size; n++) this.assemble(n, foundingStorage(this.queue, n, size));
  }

  /** A member on this storage; it does nothing before start(). */
  assemble(n: number, storage: TestStorage): GroupMember {
    const { clock, network, queue, options } = this;
    const id = BigInt(n);
    const log = new ListLog();
    const transport = network.transport(id, {
      onUnreachable: (peer) => replica.reportUnreachable(peer),
      onSnapshotResult: (peer, delivered) => replica.reportSnapshot(peer, delivered),
      onRefused: (peer, _reason, text) => replica.leaveOnWordOf([peer], text),
    });
    const rosterMachine = new RosterMachine({ clusterId: CLUSTER_ID, log });
    const counter = new Counter();
    const machines = new Map<MachineNumber, StateMachine>();
    if (options.without?.includes(n) !== true) machines.set(COUNTER, counter);
    const replica: Replica = new Replica({
      storage,
      membership: rosterMachine,
      machines,
      transport,
      clock,
      defer: queue.defer,
      random: new SeededRandom(n),
      firstReadContext: id << 32n,
      heartbeatMs: HEARTBEAT_MS,
      electionMs: HEARTBEAT_MS * ELECTION_TICKS,
      snapshots: { ...DEFAULT_SNAPSHOT_POLICY, ...options.snapshots },
      log,
    });
    const fatal: Error[] = [];
    const removed: string[] = [];
    const dismissed: number[] = [];
    replica.listen({
      onFatal: (error) => fatal.push(error),
      onRemoved: (text) => removed.push(text),
      onDismissed: (revision) => dismissed.push(revision),
    });
    network.attach(id, (from, messages) => {
      const isRemoved = rosterMachine.roster.tombstone(from) !== null && !replica.isLeaving(from);
      if (isRemoved) this.refuseRemoved(id, from);
      else replica.receive(from, messages);
    });
    const member = {
      id,
      storage,
      rosterMachine,
      counter,
      replica,
      transport,
      log,
      fatal,
      removed,
      dismissed,
    };
    this.members.set(n, member);
    return member;
  }

  /** What the gate of `by` answers to a removed member. */
  private refuseRemoved(by: bigint, id: bigint): void {
    if (!this.refusesRemoved) return;
    const { events } = this.member(Number(id)).transport;
    this.queue.defer(() => events.onRefused(by, "MEMBER_REMOVED", "removed"));
  }

  /** The process of member `n` ends, and another one opens the same storage and starts. */
  restart(n: number): GroupMember {
    const { replica, transport, storage } = this.member(n);
    transport.stop();
    replica.stop();
    const member = this.assemble(n, storage);
    member.replica.start();
    this.queue.run();
    return member;
  }

  member(n: number): GroupMember {
    const member = this.members.get(n);
    if (member === undefined) throw new Error(`no member ${n}`);
    return member;
  }

  start(): this {
    for (const { replica } of this.members.values()) replica.start();
    this.queue.run();
    return this;
  }

  /** Lets ticks pass, and carries out all that follows from each. */
  run(ticks: number): void {
    for (let i = 0; i < ticks; i++) {
      this.clock.advance(HEARTBEAT_MS);
      this.queue.run();
    }
  }

  /** Starts all members, and lets time pass until member `n` leads. */
  startLedBy(n: number): this {
    this.start();
    this.lead(n);
    return this;
  }

  lead(n: number): void {
    const { replica, id } = this.member(n);
    for (let ticks = 0; !replica.isLeader; ticks++) {
      if (ticks > 200) throw new Error(`member ${n} does not become leader`);
      this.run(1);
      const leader = this.leader();
      if (leader !== null && leader.id !== id && replica.leader === leader.id) {
        leader.replica.transferLeader(id);
        this.queue.run();
      }
    }
    this.run(2);
  }

  /** The member that leads in the newest term; null when none does. */
  leader(): GroupMember | null {
    const leaders = [...this.members.values()].filter(({ replica }) => replica.isLeader);
    leaders.sort((a, b) => b.replica.term - a.replica.term);
    const [first] = leaders;
    return first === undefined || first.replica.leader === NO_NODE ? null : first;
  }

  /** Proposes an addition on member `n`. @returns what became of it, as far as it is known */
  count(n: number, amount: number): { readonly outcomes: Outcome<Committed>[]; readonly id: bigint } {
    const outcomes: Outcome<Committed>[] = [];
    const id = ++this.lastProposal;
    const data = additionEntry(id, amount);
    this.member(n).replica.propose({ id, data, settle: (outcome) => outcomes.push(outcome) });
    return { outcomes, id };
  }

  /** Proposes a change of the membership on member `n`. @returns the decisions, one at most */
  change(n: number, command: RosterCommand): Decision[] {
    const decisions: Decision[] = [];
    const { replica, rosterMachine } = this.member(n);
    const proposalId = ++this.lastProposal;
    const own = { ...command, proposalId };
    const change = confChange(rosterMachine.roster, own);
    const settle = (outcome: Outcome<Committed>): void => {
      if (outcome.kind === "done") decisions.push(outcome.value.result as Decision);
    };
    if (change === null) replica.propose({ id: proposalId, data: encodeCommand(own), settle });
    else expect(replica.proposeConfChange(proposalId, change, settle).ok).toBe(true);
    return decisions;
  }
}
