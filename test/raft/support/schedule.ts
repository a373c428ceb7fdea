/**
 * Random schedules: a group and the events in it, all drawn from one seed.
 *
 * Each schedule draws its own weights (swarm testing, Groce et al. 2012): some lose many messages and never crash,
 * others mostly change the configuration. Every schedule ends with a check of liveness: when the network is healed and
 * all members run, a leader is elected and a proposal reaches all members.
 */
import { ConfChangeTransition, ConfChangeType } from "../../../src/raft/types";
import type { ConfChangeSingle, NodeId } from "../../../src/raft/types";
import { Violation } from "./checker";
import type { CrashPoint, Member, PlantedBug } from "./member";
import { Network } from "./network";
import type { NetworkOptions } from "./network";
import { SeededRandom } from "./seeded_random";

export interface ScheduleOptions {
  readonly seed: number;
  /** @default 1000 */
  readonly events?: number;
  readonly bug?: PlantedBug;
  readonly trace?: (text: string) => void;
}

/** Totals of a schedule, with which a suite shows that its schedules make progress. */
export interface ScheduleResult {
  readonly elections: number;
  readonly committed: number;
  readonly applied: number;
  readonly reads: number;
  readonly refused: ReadonlyMap<string, number>;
}

type EventName =
  | "deliver"
  | "tick"
  | "ready"
  | "append"
  | "ack"
  | "apply"
  | "propose"
  | "read"
  | "confchange"
  | "transfer"
  | "campaign"
  | "rivals"
  | "forget"
  | "snapshot"
  | "crash"
  | "crash-in-ready"
  | "restart"
  | "bounce"
  | "partition"
  | "heal"
  | "unreachable";

/** Events of normal operation and of the network. The others are crashes and disturbances. */
type OrdinaryEvent =
  | "deliver"
  | "tick"
  | "ready"
  | "append"
  | "ack"
  | "apply"
  | "propose"
  | "read"
  | "confchange"
  | "snapshot"
  | "partition"
  | "heal";

/** Usual weight, and the highest factor by which a schedule multiplies it (0 turns it off). */
const WEIGHTS: readonly (readonly [EventName, number, number])[] = [
  ["deliver", 320, 2],
  ["tick", 120, 4],
  ["ready", 60, 2],
  ["append", 60, 2],
  ["ack", 60, 2],
  ["apply", 40, 2],
  ["propose", 40, 3],
  ["read", 10, 3],
  ["confchange", 10, 6],
  ["transfer", 3, 4],
  ["campaign", 6, 6],
  ["rivals", 8, 4],
  ["forget", 1, 3],
  ["snapshot", 5, 5],
  ["crash", 5, 4],
  ["crash-in-ready", 6, 4],
  ["restart", 15, 2],
  ["bounce", 8, 4],
  ["partition", 3, 4],
  ["heal", 10, 3],
  ["unreachable", 2, 2],
];

const ELECTION_TICKS = 4;

function drawNetwork(options: ScheduleOptions, random: SeededRandom): NetworkOptions {
  const voters = 1 + random.below(5);
  const learners = random.below(2);
  const coin = (): boolean => random.below(2) === 0;
  // Without PreVote and CheckQuorum there are more elections, so that a lost vote is found sooner.
  const guarded = options.bug !== "forget-vote";
  const maxSizePerMessage = [0, 60, 200, 1024 * 1024][random.below(4)] ?? 0;
  return {
    seed: random.next(),
    size: Math.min(7, voters + learners + random.below(3)),
    voters,
    learners,
    config: {
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: 1,
      asyncStorageWrites: options.bug === "ack-before-sync" || coin(),
      maxSizePerMessage,
      maxCommittedSizePerReady: [1, 100, Infinity][random.below(3)] ?? 1,
      maxUncommittedSize: coin() ? Infinity : 200,
      maxInflightMessages: 1 + random.below(6),
      checkQuorum: guarded && coin(),
      preVote: guarded && coin(),
      disableProposalForwarding: coin(),
      stepDownOnRemoval: coin(),
    },
    disk: { visibleAtCall: coin(), bug: options.bug ?? null },
    loss: random.below(3) * 5,
    duplication: random.below(3) * 5,
    reordering: random.below(4) * 15,
  };
}

/** Draws events by weight: searches the running sum of the weights. */
class Deck {
  private readonly names: EventName[] = [];
  private readonly sums: number[] = [];
  private total = 0;

  constructor(random: SeededRandom) {
    for (const [name, weight, factor] of WEIGHTS) {
      const drawn =
        name === "deliver" || name === "tick"
          ? weight * (1 + random.below(factor))
          : weight * random.below(factor + 1);
      // Every schedule needs local work and restarts.
      const least = LOCAL.has(name) ? 20 : 0;
      this.total += Math.max(drawn, least);
      this.names.push(name);
      this.sums.push(this.total);
    }
  }

  draw(random: SeededRandom): EventName {
    const at = random.below(this.total);
    let i = 0;
    while ((this.sums[i] ?? Infinity) <= at) i++;
    return this.names[i] ?? "deliver";
  }
}

const LOCAL: ReadonlySet<EventName> = new Set(["ready", "append", "ack", "apply", "restart", "heal"]);

class Schedule {
  readonly network: Network;
  private readonly random: SeededRandom;
  private readonly deck: Deck;
  /** Whether a member's Readys are handled right after each event that touches it. */
  private readonly eager: boolean;
  /** Whether the storage threads finish after each event. */
  private readonly prompt: boolean;

  constructor(private readonly options: ScheduleOptions) {
    this.random = new SeededRandom(options.seed);
    this.network = new Network(drawNetwork(options, this.random));
    this.deck = new Deck(this.random);
    this.eager = this.random.chance(70);
    this.prompt = this.random.chance(30);
  }

  run(): void {
    const events = this.options.events ?? DEFAULT_EVENTS;
    const first = this.pick();
    first.raw?.campaign();
    this.network.handleReady(first, "none");
    for (let i = 0; i < events; i++) {
      const name = this.deck.draw(this.random);
      const member = this.pick();
      this.options.trace?.(`${i} ${name} ${member.id}`);
      this.event(name, member);
      if (this.eager) for (const each of this.network.members) this.network.handleReady(each, "none");
      if (this.prompt) for (const each of this.network.members) each.finishWork();
    }
  }

  private pick(): Member {
    const { members } = this.network;
    const member = members[this.random.below(members.length)];
    if (member === undefined) throw new Error("a group without members");
    return member;
  }

  /** A member whose queue is not empty, searched from a random member on. */
  private busy(queued: (member: Member) => number): Member | undefined {
    const { members } = this.network;
    const from = this.random.below(members.length);
    for (let i = 0; i < members.length; i++) {
      const member = members[(from + i) % members.length];
      if (member !== undefined && queued(member) > 0) return member;
    }
    return undefined;
  }

  /** Mostly the leader, sometimes `any`. */
  private proposer(any: Member): Member {
    return this.random.chance(80) ? (this.network.leader() ?? any) : any;
  }

  private event(name: EventName, member: Member): void {
    const { network, random } = this;
    switch (name) {
      case "deliver":
        // More when many messages are in flight; otherwise most would be stale on delivery.
        for (let n = network.mail.length >> 3; n >= 0; n--) network.deliver();
        break;
      case "tick":
        network.tick(member);
        break;
      case "ready":
        network.handleReady(member, "none");
        break;
      case "append":
        this.busy((each) => each.appendQueue.length)?.processAppend();
        break;
      case "ack":
        this.busy((each) => each.ackQueue.length)?.processAck();
        break;
      case "apply":
        this.busy((each) => each.applyQueue.length)?.processApply();
        break;
      case "propose":
        network.propose(this.proposer(member), 1 + random.below(3));
        break;
      case "read":
        network.read(random.chance(50) ? this.proposer(member) : member);
        break;
      case "confchange":
        this.changeConfiguration(this.proposer(member));
        break;
      case "snapshot":
        member.takeSnapshot(random.below(4));
        break;
      case "partition":
        network.partition();
        break;
      case "heal":
        network.heal();
        break;
      default:
        this.disturb(name, member);
    }
  }

  private disturb(name: Exclude<EventName, OrdinaryEvent>, member: Member): void {
    const { network, random } = this;
    switch (name) {
      case "transfer":
        this.proposer(member).raw?.transferLeader(this.pick().id);
        break;
      case "campaign":
        member.raw?.campaign();
        break;
      case "rivals":
        // Two candidates, of one term if their terms were equal.
        member.raw?.campaign();
        this.pick().raw?.campaign();
        break;
      case "bounce":
        if (member.raw !== null) network.crash(member);
        member.start();
        break;
      case "forget":
        member.raw?.forgetLeader();
        break;
      case "unreachable":
        network.leader()?.raw?.reportUnreachable(member.id);
        break;
      case "crash":
        if (member.raw !== null) network.crash(member);
        break;
      case "crash-in-ready":
        network.handleReady(member, CRASH_POINTS[random.below(CRASH_POINTS.length)] ?? "after-write");
        break;
      case "restart":
        for (const each of network.members) if (each.raw === null) each.start();
        break;
    }
    for (const each of network.members) each.observe();
  }

  /** A change to an unrelated set of voters: old and new majorities need not overlap. */
  private replaceVoters(): ConfChangeSingle[] {
    const { random, network } = this;
    const first = random.below(network.members.length);
    const count = 1 + random.below(3);
    return network.members.map(({ id }, i) => ({
      type:
        (i - first + network.members.length) % network.members.length < count
          ? ConfChangeType.AddVoter
          : ConfChangeType.Remove,
      nodeId: id,
    }));
  }

  private changeConfiguration(member: Member): void {
    const { random, network } = this;
    if (member.machine.confState.votersOutgoing.length > 0 && random.chance(70)) {
      network.proposeConfChange(member, { transition: ConfChangeTransition.Auto, changes: [] }, false);
      return;
    }
    const changes: ConfChangeSingle[] = random.chance(25) ? this.replaceVoters() : [];
    const count = random.chance(60) ? 1 : 1 + random.below(4);
    for (let i = changes.length; i < count; i++) {
      changes.push({ type: CHANGE_TYPES[random.below(CHANGE_TYPES.length)] ?? 0, nodeId: this.pick().id });
    }
    const transition = TRANSITIONS[random.below(TRANSITIONS.length)] ?? ConfChangeTransition.Auto;
    // The state machine refuses to remove every voter, as the product's roster does.
    network.proposeConfChange(
      member,
      { transition, changes },
      removesAll(member, changes) || random.chance(5),
    );
  }
}

const DEFAULT_EVENTS = 1000;
const CRASH_POINTS: readonly CrashPoint[] = ["before-write", "after-write", "before-advance"];
const CHANGE_TYPES = [
  ConfChangeType.AddVoter,
  ConfChangeType.AddVoter,
  ConfChangeType.AddLearner,
  ConfChangeType.Remove,
  ConfChangeType.Update,
];
const TRANSITIONS = [
  ConfChangeTransition.Auto,
  ConfChangeTransition.Auto,
  ConfChangeTransition.JointImplicit,
  ConfChangeTransition.JointExplicit,
];

function removesAll(member: Member, changes: readonly ConfChangeSingle[]): boolean {
  const voters = new Set(member.machine.confState.voters);
  for (const { type, nodeId } of changes) {
    if (type === ConfChangeType.AddVoter) voters.add(nodeId);
    else if (type !== ConfChangeType.Update) voters.delete(nodeId);
  }
  return voters.size === 0;
}

/**
 * With a healed network and all members running, the group must elect a leader that replicates a proposal to all
 * members.
 */
function checkLiveness(network: Network): void {
  network.heal();
  for (const member of network.members) if (member.raw === null) member.start();
  network.settle();
  for (let round = 0; round < LIVENESS_ROUNDS; round++) {
    const leader = network.leader();
    if (leader !== null && reachesAllMembers(network, leader)) return;
    if (leader !== null) handOver(leader);
    for (const member of network.members) {
      if (isOut(network, member)) member.crash(0);
      else if (member.raw === null) member.start();
      network.tick(member);
    }
    network.settle();
  }
  throw new Violation(`no leader that replicates a proposal to all members:\n${network.describe()}`);
}

/**
 * Whether an application would have shut the member down by now: it is neither in the newest configuration nor in the
 * active configuration of any member of the newest one.
 */
function isOut(network: Network, member: Member): boolean {
  const newest = network.members.reduce((a, b) => (b.machine.index > a.machine.index ? b : a), member);
  const current = membersOf(newest);
  return (
    !current.includes(member.id) && !current.some((id) => membersOf(network.member(id)).includes(member.id))
  );
}

function membersOf({ machine }: Member): NodeId[] {
  const { voters, votersOutgoing, learners } = machine.confState;
  return [...voters, ...votersOutgoing, ...learners];
}

/**
 * Many election timeouts, because elections are random: when only one of five candidates can win, 40 timeouts in a row
 * start with another one in about one of 10,000 groups (0.8^40), 400 in practically none.
 */
const LIVENESS_ROUNDS = 400 * ELECTION_TICKS;

/** Whether the leader is a voter, and a new proposal of it reaches all members. */
function reachesAllMembers(network: Network, leader: Member): boolean {
  const { voters, learners } = leader.machine.confState;
  if (!voters.includes(leader.id)) return false;
  const before = network.checker.committed;
  network.propose(leader, 1);
  network.settle();
  const { committed } = network.checker;
  return (
    committed > before &&
    [...voters, ...learners].every((id) => network.member(id).machine.index >= committed)
  );
}

/** A leader that is no longer a voter, and does not step down by itself, is made to transfer leadership. */
function handOver(leader: Member): void {
  const { voters } = leader.machine.confState;
  const other = voters.find((id) => id !== leader.id);
  if (!voters.includes(leader.id) && other !== undefined) leader.raw?.transferLeader(other);
}

/**
 * Runs one schedule.
 * @throws Violation when a property does not hold, or the error that the core threw
 */
export function runSchedule(options: ScheduleOptions): ScheduleResult {
  const schedule = new Schedule(options);
  schedule.run();
  const { network } = schedule;
  checkLiveness(network);
  const { checker } = network;
  return {
    elections: checker.elections,
    committed: checker.committed,
    applied: checker.applications,
    reads: network.readsDone,
    refused: network.refused,
  };
}
