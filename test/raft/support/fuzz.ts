/**
 * Faulty peers: messages of any content, stepped into one core in any state.
 *
 * Some messages have fields without any sense; most are plausible (off by one, stale, contradictory, from members that
 * are not listed), as only those pass the first checks. A faulty leader can make a core follow a wrong log, but it
 * cannot make the core throw or break its own invariants.
 */
import type { Message } from "../../../src/raft/message";
import { MessageType, newMessage } from "../../../src/raft/message";
import {
  EMPTY_BYTES,
  EntryType,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  NO_NODE,
  Role,
} from "../../../src/raft/types";
import type { ConfChange, ConfState, Entry, NodeId, Snapshot } from "../../../src/raft/types";
import { TestCore } from "./core";
import { SeededRandom } from "./seeded_random";

const WILD_NUMBERS = [-1, 0.5, NaN, Infinity, -Infinity, 2 ** 53, Number.MAX_SAFE_INTEGER, 2 ** 53 - 2 ** 40];
const WILD_IDS = [NO_NODE, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, -1n, 2n ** 64n, 2n ** 63n];
const WILD_VALUES: readonly unknown[] = [
  undefined,
  null,
  "7",
  {},
  [],
  true,
  7,
  7n,
  new Uint8Array(3),
  [null],
  [{}],
];
const PEER_TYPES: readonly MessageType[] = [
  MessageType.Propose,
  MessageType.Append,
  MessageType.Append,
  MessageType.Append,
  MessageType.AppendResponse,
  MessageType.AppendResponse,
  MessageType.Vote,
  MessageType.VoteResponse,
  MessageType.Snapshot,
  MessageType.Heartbeat,
  MessageType.HeartbeatResponse,
  MessageType.TransferLeader,
  MessageType.TimeoutNow,
  MessageType.ReadIndex,
  MessageType.ReadIndexResponse,
  MessageType.PreVote,
  MessageType.PreVoteResponse,
];
const FIELDS: readonly (keyof Message)[] = [
  "type",
  "to",
  "from",
  "term",
  "logTerm",
  "index",
  "entries",
  "commit",
  "snapshot",
  "reject",
  "rejectHint",
  "context",
  "forced",
];

export class MessageFuzzer {
  constructor(private readonly random: SeededRandom) {}

  /** A message with values close to those that `core` expects. */
  plausible(core: TestCore): Message {
    const { random } = this;
    const { raw } = core;
    const type: MessageType = random.chance(95) ? pick(random, PEER_TYPES) : random.below(26);
    const m = newMessage(type, raw.id, this.sender(core), Math.max(0, raw.term + this.offset(2)));
    m.index = this.near(core);
    m.logTerm = this.termNear(core, m.index);
    m.commit = this.near(core);
    m.rejectHint = this.near(core);
    m.reject = random.chance(30);
    m.forced = random.chance(30);
    m.context = random.chance(50) ? 0n : BigInt(random.below(5));
    if (random.chance(type === MessageType.Append ? 80 : 5)) m.entries = this.entries(core, m.index, m.term);
    if (type === MessageType.Snapshot || random.chance(3)) m.snapshot = this.snapshot(core, m.term);
    if (random.chance(5)) m.to = this.id();
    if ((type === MessageType.ReadIndex || type === MessageType.Propose) && random.chance(90)) m.term = 0;
    return m;
  }

  /** A plausible message with some fields of random type or value. */
  wild(core: TestCore): Message {
    const { random } = this;
    const m: Record<string, unknown> = { ...this.plausible(core) };
    for (let i = random.below(3); i >= 0; i--) {
      const field = FIELDS[random.below(FIELDS.length)] ?? "type";
      const kind = random.below(3);
      if (kind === 0) m[field] = pick(random, WILD_NUMBERS);
      else if (kind === 1) m[field] = pick(random, WILD_IDS);
      else m[field] = pick(random, WILD_VALUES);
    }
    // The types do not allow such a message, but a decoder might produce it.
    return m as unknown as Message;
  }

  /** Mostly another member, often the leader: messages of others are refused early. */
  private sender(core: TestCore): NodeId {
    const { random } = this;
    const { leader } = core.raw;
    if (leader !== NO_NODE && leader !== core.id && random.chance(50)) return leader;
    return random.chance(80) ? BigInt(2 + random.below(2)) : this.id();
  }

  private id(): NodeId {
    const { random } = this;
    return random.chance(5) ? pick(random, WILD_IDS) : BigInt(1 + random.below(5));
  }

  /** Mostly 0, otherwise within `range`. */
  private offset(range: number): number {
    const { random } = this;
    return random.chance(60) ? 0 : random.below(2 * range + 1) - range;
  }

  private near(core: TestCore): number {
    const { raw } = core;
    const base =
      [0, raw.committed, raw.applied, raw.lastIndex, core.disk.firstIndex()][this.random.below(5)] ?? 0;
    return Math.max(0, base + this.offset(3));
  }

  private termNear(core: TestCore, index: number): number {
    const term = core.disk.term(index);
    const base = typeof term === "number" ? term : core.raw.term;
    return Math.max(0, base + this.offset(1));
  }

  private entries(core: TestCore, after: number, highest: number): Entry[] {
    const { random } = this;
    const entries: Entry[] = [];
    let term = Math.max(1, this.termNear(core, after));
    let index = after + 1 + this.offset(1);
    for (let i = random.below(5); i > 0; i--) {
      const confChange = random.chance(30) ? this.confChange() : null;
      const type = random.chance(95)
        ? confChange === null
          ? EntryType.Normal
          : EntryType.ConfChangeV2
        : random.below(4);
      entries.push({ term: Math.min(term, highest + 1), index, type, data: EMPTY_BYTES, confChange });
      index += random.chance(95) ? 1 : random.below(3);
      if (random.chance(20)) term += random.below(3) - (random.chance(20) ? 1 : 0);
    }
    return entries;
  }

  private confChange(): ConfChange {
    const { random } = this;
    const changes = Array.from({ length: random.below(4) }, () => ({
      type: random.below(4),
      nodeId: this.id(),
    }));
    return { transition: random.below(random.chance(95) ? 3 : 5), changes, context: EMPTY_BYTES };
  }

  private snapshot(core: TestCore, highest: number): Snapshot {
    const ids = (): NodeId[] => Array.from({ length: this.random.below(4) }, () => this.id());
    const confState: ConfState = {
      voters: this.random.chance(90) ? [1n, 2n, 3n].slice(this.random.below(3)) : ids(),
      learners: this.random.chance(80) ? [] : ids(),
      votersOutgoing: this.random.chance(80) ? [] : ids(),
      learnersNext: this.random.chance(90) ? [] : ids(),
      autoLeave: this.random.chance(20),
    };
    const index = this.near(core) + this.random.below(5);
    return { meta: { index, term: Math.max(0, highest + this.offset(1)), confState }, data: EMPTY_BYTES };
  }
}

function pick<T>(random: SeededRandom, values: readonly T[]): T {
  const value = values[random.below(values.length)];
  if (value === undefined && values.length === 0) throw new Error("nothing to pick from");
  return value as T;
}

/** Invariants of one core that hold whatever its peers send. Compared before and after each step. */
export class SelfChecker {
  private term = 0;
  private vote: NodeId = NO_NODE;
  private committed = 0;
  /** Terms of committed entries by index. */
  private readonly terms: number[] = [];

  /** @returns the violation, or null */
  check(core: TestCore): string | null {
    const { raw, disk } = core;
    const { applied, committed, lastIndex, term } = raw;
    const { vote } = raw.status().hardState;
    const numbers = [applied, committed, lastIndex, term];
    if (!numbers.every((n) => Number.isSafeInteger(n))) return `not safe: ${numbers.join()}`;
    if (!(applied <= committed && committed <= lastIndex)) return `order: ${numbers.join()}`;
    if (committed < this.committed) return `the commit index falls from ${this.committed} to ${committed}`;
    if (term < this.term) return `the term falls from ${this.term} to ${term}`;
    if (term === this.term && this.vote !== NO_NODE && vote !== this.vote)
      return `a second vote in term ${term}`;
    if (raw.role === Role.Leader && raw.leader !== raw.id) return "a leader that follows";
    // With nothing left to hand out, the disk holds all that is committed.
    if (!raw.hasReady()) {
      for (let index = disk.firstIndex(); index <= committed; index++) {
        const entryTerm = disk.term(index);
        if (typeof entryTerm !== "number") return `committed entry ${index} is gone`;
        const before = (this.terms[index] ??= entryTerm);
        if (before !== entryTerm) return `committed entry ${index} was replaced`;
      }
    }
    this.term = term;
    this.vote = vote;
    this.committed = committed;
    return null;
  }
}

/** What one run met, so that a suite can show that its messages come through. */
export interface FuzzResult {
  stepped: number;
  refused: number;
  committed: number;
}

/**
 * One core under fire: `steps` messages, ticks, proposals and snapshots.
 * @throws Error when a promise breaks; what the core threw when it throws
 */
export function fuzzCore(seed: number, steps: number): FuzzResult {
  const random = new SeededRandom(seed);
  const fuzzer = new MessageFuzzer(random);
  const coin = (): boolean => random.chance(50);
  const core = new TestCore({
    voters: random.chance(20) ? [1n] : [1n, 2n, 3n],
    learners: coin() ? [4n] : [],
    log: coin() ? [1, 1, 2] : [],
    seed,
    config: {
      checkQuorum: coin(),
      preVote: coin(),
      disableProposalForwarding: coin(),
      stepDownOnRemoval: coin(),
      maxSizePerMessage: coin() ? 0 : 1000,
      maxInflightMessages: 1 + random.below(4),
      maxUncommittedSize: coin() ? 100 : Infinity,
    },
  });
  const checker = new SelfChecker();
  const result: FuzzResult = { stepped: 0, refused: 0, committed: 0 };
  for (let i = 0; i < steps; i++) {
    act(core, fuzzer, random, result);
    if (random.chance(80)) core.drain();
    const broken = checker.check(core);
    if (broken !== null) throw new Error(`seed ${seed}, step ${i}: ${broken}`);
  }
  result.committed = core.raw.committed;
  return result;
}

function act(core: TestCore, fuzzer: MessageFuzzer, random: SeededRandom, result: FuzzResult): void {
  const { raw } = core;
  const what = random.below(100);
  if (what < 75) {
    const m = what < 60 ? fuzzer.plausible(core) : fuzzer.wild(core);
    const before = [...raw.refusedMessages.values()].reduce((sum, n) => sum + n, 0);
    const stepped = raw.step(m);
    const after = [...raw.refusedMessages.values()].reduce((sum, n) => sum + n, 0);
    if (after - before !== (stepped.ok ? 0 : 1)) throw new Error("a refusal was not counted");
    if (stepped.ok) result.stepped++;
    else result.refused++;
  } else if (what < 85) {
    raw.tick();
  } else if (what < 88) {
    core.lead();
  } else if (what < 93) {
    raw.propose([Uint8Array.of(1, 2, 3)]);
  } else if (what < 95) {
    raw.proposeConfChange({
      transition: 0,
      changes: [{ type: random.below(4), nodeId: 5n }],
      context: EMPTY_BYTES,
    });
  } else if (what < 96) {
    raw.readIndex(BigInt(1 + random.below(5)));
  } else if (what < 97) {
    raw.transferLeader(BigInt(1 + random.below(5)));
  } else if (what < 98) {
    raw.reportSnapshot(2n, random.chance(50));
  } else if (core.raw.applied >= core.disk.firstIndex() && !core.raw.hasReady()) {
    core.compact();
  }
}
