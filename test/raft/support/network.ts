/**
 * A group of members over a network that delays, loses, duplicates and reorders messages, and splits. Every choice
 * comes from one seeded generator: a seed replays its run.
 */
import { MessageType } from "../../../src/raft/message";
import type { Message } from "../../../src/raft/message";
import { Role } from "../../../src/raft/types";
import type { ConfChange, NodeId, Snapshot } from "../../../src/raft/types";
import { formatConfState, SafetyChecker, Violation } from "./checker";
import { Member } from "./member";
import type { CrashPoint, DiskOptions, GroupConfig } from "./member";
import { SeededRandom } from "./seeded_random";

export interface NetworkOptions {
  readonly seed: number;
  /** Members that exist, with ids from 1; those beyond `voters` and `learners` start without a log. */
  readonly size: number;
  readonly voters: number;
  readonly learners: number;
  readonly config: GroupConfig;
  readonly disk: DiskOptions;
  /** In percent of deliveries. */
  readonly loss: number;
  readonly duplication: number;
  /** In percent of deliveries: a random message is delivered instead of the oldest. */
  readonly reordering: number;
}

interface PendingRead {
  readonly id: NodeId;
  readonly incarnation: number;
  /** The group's commit index when the read was requested. */
  readonly floor: number;
}

export const START_INDEX = 3;
const START_TERM = 1;

export class Network {
  readonly random: SeededRandom;
  readonly checker = new SafetyChecker();
  readonly members: Member[] = [];
  /** In flight, oldest first. */
  readonly mail: Message[] = [];
  /** The number of refused messages by reason. All senders are correct. */
  readonly refused = new Map<string, number>();
  readsDone = 0;
  /** The partition of each member by index. Messages are delivered only inside a partition. */
  private readonly side: number[] = [];
  private readonly reads = new Map<bigint, PendingRead>();
  private nextContext = 1n;
  private nextPayload = 1;
  /** Receives a line for every event of a replay. */
  trace: ((text: string) => void) | null = null;

  constructor(readonly options: NetworkOptions) {
    this.random = new SeededRandom(options.seed);
    const ids = Array.from({ length: options.size }, (_, i) => BigInt(i + 1));
    const confState = {
      voters: ids.slice(0, options.voters),
      learners: ids.slice(options.voters, options.voters + options.learners),
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    };
    const start: Snapshot = {
      meta: { index: START_INDEX, term: START_TERM, confState },
      data: new Uint8Array(4),
    };
    const confText = formatConfState(confState);
    this.checker.bootstraps({ index: START_INDEX, digest: 0, confState, confText }, START_TERM);
    for (const id of ids) {
      const member = new Member(id, options.config, options.disk, this.random, this.checker, this);
      if (id <= BigInt(options.voters + options.learners)) member.bootstrap(start);
      this.members.push(member);
      this.side.push(0);
      member.start();
    }
  }

  member(id: NodeId): Member {
    const member = this.members[Number(id) - 1];
    if (member === undefined) throw new Violation(`message to ${id}, who does not exist`);
    return member;
  }

  /** The leader of the highest term, or null. */
  leader(): Member | null {
    let best: Member | null = null;
    for (const member of this.members) {
      if (member.raw?.role === Role.Leader && member.raw.term > (best?.raw?.term ?? 0)) best = member;
    }
    return best;
  }

  // --- MemberEvents

  send(message: Message): void {
    this.mail.push(message);
  }

  readDone(id: NodeId, context: bigint, index: number): void {
    const read = this.reads.get(context);
    if (read === undefined || read.id !== id)
      throw new Violation(`${id} answers a read that it was not asked`);
    // The caller of a read before a restart is gone, but its answer must not be stale either.
    this.checker.reads(id, read.floor, index);
    this.readsDone++;
  }

  // --- events

  /** Delivers one message, or loses it. */
  deliver(): void {
    const { mail, random, options } = this;
    if (mail.length === 0) return;
    const at = random.chance(options.reordering) ? random.below(mail.length) : 0;
    const message = mail[at];
    if (message === undefined) return;
    mail.splice(at, 1);
    if (random.chance(options.duplication)) mail.splice(random.below(mail.length + 1), 0, message);
    const connected = this.side[Number(message.from) - 1] === this.side[Number(message.to) - 1];
    const raw = this.member(message.to).raw;
    if (!connected || raw === null || random.chance(options.loss)) {
      this.lost(message);
      return;
    }
    this.receive(message);
  }

  receive(message: Message): void {
    const member = this.member(message.to);
    const result = member.raw?.step(message);
    if (result === undefined) return;
    if (!result.ok) this.refused.set(result.reason, (this.refused.get(result.reason) ?? 0) + 1);
    member.observe();
    if (message.type === MessageType.Snapshot) {
      this.member(message.from).raw?.reportSnapshot(message.to, true);
    }
  }

  tick(member: Member): void {
    member.raw?.tick();
    member.observe();
  }

  propose(member: Member, count: number): void {
    const data: Uint8Array[] = [];
    for (let i = 0; i < count; i++) data.push(this.payload(4 + this.random.below(12)));
    member.raw?.propose(data);
    member.observe();
  }

  /** @param refusedAtApply whether the state machine refuses the change when it applies it */
  proposeConfChange(member: Member, change: Omit<ConfChange, "context">, refusedAtApply: boolean): void {
    const context = this.payload(5);
    context[4] = refusedAtApply ? 0xff : 0;
    member.raw?.proposeConfChange({ ...change, context });
    member.observe();
  }

  read(member: Member): void {
    if (member.raw === null) return;
    const context = this.nextContext++;
    this.reads.set(context, {
      id: member.id,
      incarnation: member.incarnation,
      floor: this.checker.committed,
    });
    member.raw.readIndex(context);
    member.observe();
  }

  crash(member: Member): void {
    member.crash(this.random.below(member.appendQueue.length + 1));
  }

  /** Handles a member's Readys. The member crashes when it reaches `crashAt`. */
  handleReady(member: Member, crashAt: CrashPoint): void {
    if (member.handleReady(crashAt)) this.crash(member);
  }

  /** Splits the members into two partitions. */
  partition(): void {
    for (let i = 0; i < this.side.length; i++) this.side[i] = this.random.below(2);
  }

  heal(): void {
    this.side.fill(0);
  }

  // --- end of a run

  /** Does all local work and delivers all messages, in order and without loss, until none are left. */
  settle(): void {
    for (let turn = 0; turn < SETTLE_TURNS; turn++) {
      let idle = this.mail.length === 0;
      for (const member of this.members) {
        this.handleReady(member, "none");
        member.finishWork();
        if (member.raw?.hasReady() === true) idle = false;
      }
      if (idle && this.mail.length === 0) return;
      for (const message of this.mail.splice(0)) {
        const connected = this.side[Number(message.from) - 1] === this.side[Number(message.to) - 1];
        if (connected && this.member(message.to).raw !== null) this.receive(message);
        else this.lost(message);
      }
    }
    throw new Violation("the group does not come to rest");
  }

  /** One line per member, for a report of a failure. */
  describe(): string {
    const lines = this.members.map((member) => {
      const { raw, machine } = member;
      if (raw === null) return `${member.id} is down`;
      const { role, leader, leaderTransferee, pendingConfIndex, progress } = raw.status();
      const log = `applied ${raw.applied} committed ${raw.committed} last ${raw.lastIndex}`;
      const sends = [...progress].map(([id, p]) => `${id}:${p.state}/${p.match}/${p.next}`).join(" ");
      return (
        `${member.id} ${Role[role]} term ${raw.term} leader ${leader} ${log} transferee ${leaderTransferee} ` +
        `pending ${pendingConfIndex} machine ${machine.index} ${machine.confText} ${sends}`
      );
    });
    return lines.join("\n");
  }

  private lost(message: Message): void {
    const sender = this.member(message.from);
    if (sender.raw === null) return;
    if (message.type === MessageType.Snapshot) sender.raw.reportSnapshot(message.to, false);
    else if (this.random.chance(30)) sender.raw.reportUnreachable(message.to);
    sender.observe();
  }

  /** Bytes that are unique among the proposals of the run. */
  private payload(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const number = this.nextPayload++;
    bytes[2] = number >> 8;
    bytes[3] = number;
    return bytes;
  }
}

const SETTLE_TURNS = 2000;
