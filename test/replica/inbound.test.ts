/** Which messages of other members reach the core: terms far ahead, a full disk, snapshots of strangers, contradictions. */
import { MessageType, newMessage } from "../../src/raft/index";
import type { Message, MessageDraft, RawNode, Snapshot } from "../../src/raft/index";
import { DivergedError } from "../../src/replica/diverged";
import { EntryCheck } from "../../src/replica/entry_check";
import { Inbound } from "../../src/replica/inbound";
import { entries, nodeOn, snapshotAt, storageOf } from "../raft/support/build";
import { ListLog } from "./support/list_log";

const LEAP_MAX = 2 ** 20;
const STEP = 2 ** 26;
const FOLLOWED_MAX = 2 ** 33;
const ELECTION_TICKS = 10;

function message(type: MessageType, part: Partial<MessageDraft> = {}): Message {
  return { ...newMessage(type, 1n, 2n, 5), ...part };
}

/** Member 1 of three, in term 5, with two committed entries of term 4 and one of term 5. */
class Receiver {
  readonly log = new ListLog();
  readonly regressed: bigint[] = [];
  readonly taken: Message[] = [];
  readonly core: RawNode;
  readonly inbound: Inbound;
  hasSpace = true;
  canInstall: (snapshot: Snapshot) => boolean = () => true;
  strangers: readonly bigint[] = [];
  tick = 0;

  constructor(term = 5, log = term === 0 ? [] : entries(1, 4, 4, 5)) {
    const storage = storageOf(log.length === 0 && term > 0 ? [] : [1n, 2n, 3n], 0, log);
    storage.hardState = { term, vote: 0n, commit: log.length === 0 ? 0 : 2 };
    this.core = nodeOn(storage, { preVote: true, checkQuorum: true });
    const step = this.core.step.bind(this.core);
    this.core.step = (m) => {
      this.taken.push(m);
      return step(m);
    };
    this.inbound = new Inbound({
      core: () => this.core,
      ticks: () => this.tick,
      electionTicks: ELECTION_TICKS,
      hasSpace: () => this.hasSpace,
      canInstall: (snapshot) => this.canInstall(snapshot),
      isMember: (id) => !this.strangers.includes(id),
      onRegressed: (id) => this.regressed.push(id),
      entries: new EntryCheck(this.log),
      log: this.log,
    });
  }

  /** @returns what the core was given; null: nothing */
  give(given: Message): Message | null {
    this.taken.length = 0;
    this.inbound.step(given.from, given);
    return this.taken[0] ?? null;
  }
}

const append = message(MessageType.Append, { index: 3, logTerm: 5, commit: 3, entries: entries(4, 5, 5) });
const snapshot = message(MessageType.Snapshot, { snapshot: snapshotAt(9, 5) });

test("an ordinary message is taken as it is", () => {
  expect(new Receiver().give(append)).toBe(append);
  expect(new Receiver().give(snapshot)).toBe(snapshot);
});

describe("terms", () => {
  const beat = (term: number) => message(MessageType.Heartbeat, { term });

  test.each([
    ["the farthest accepted", 5, 5 + LEAP_MAX],
    ["an older one", 5, 1],
    ["what a cluster may have used up, for a member without a term", 0, FOLLOWED_MAX],
  ])("%s is taken", (_what, own, theirs) => {
    const receiver = new Receiver(own);
    const given = beat(theirs);
    expect(receiver.give(given)).toBe(given);
    expect(receiver.core.term).toBe(Math.max(own, theirs));
    expect(receiver.log.texts).toEqual([]);
  });

  test.each([MessageType.Heartbeat, MessageType.PreVote])(
    "a member that has just joined takes message type %i of a far term: it can't be led by steps",
    (type) => {
      const receiver = new Receiver(3, []);
      const given = message(type, { term: 5 + 2 * LEAP_MAX, index: 5, logTerm: 2 });
      expect(receiver.give(given)).toBe(given);
    },
  );

  test("4,000 heartbeats, each 2^20 above the last, raise the term by no more than one allowance", () => {
    const receiver = new Receiver();
    for (let i = 1; i <= 4000; i++) receiver.give(beat(5 + i * LEAP_MAX));
    // One step towards the others counts as well: at most one in each election timeout.
    expect(receiver.core.term).toBe(5 + LEAP_MAX);
    expect(receiver.log.texts).toEqual(["warn refused a term far ahead of this member's"]);
    receiver.tick = ELECTION_TICKS;
    receiver.give(beat(5 + 2 * LEAP_MAX));
    expect(receiver.core.term).toBe(5 + 2 * LEAP_MAX);
  });

  test("real elections are followed, however much of the allowance is used up", () => {
    const receiver = new Receiver();
    receiver.give(beat(5 + LEAP_MAX));
    receiver.give(beat(5 + LEAP_MAX + 64));
    expect(receiver.core.term).toBe(5 + LEAP_MAX + 64);
    expect(receiver.give(beat(5 + LEAP_MAX + 64 + 65))).toBeNull();
  });

  test("one far ahead is followed in steps, one in each election timeout, by its term alone", () => {
    const receiver = new Receiver();
    const far = 2 ** 32;
    const answer = message(MessageType.AppendResponse, { term: far, index: 3 });
    const elections = Math.ceil(far / STEP);
    for (let i = 1; i <= elections; i++) {
      expect(receiver.core.term).toBeLessThan(far);
      const given = receiver.give(answer);
      expect(given).toMatchObject({ type: MessageType.PreVoteResponse, reject: true, from: 2n });
      if (i < elections) expect(receiver.give(answer)).toBeNull();
      receiver.tick += ELECTION_TICKS;
    }
    expect(receiver.core.term).toBe(far);
    expect(receiver.give(answer)).toBe(answer);
  });

  test("a member that nothing leads back from is not followed", () => {
    const receiver = new Receiver();
    expect(receiver.give(beat(6 + FOLLOWED_MAX))).toBeNull();
    expect(receiver.core.term).toBe(5);
  });

  test.each([MessageType.Vote, MessageType.PreVote])(
    "a candidate far ahead (type %i) is followed by a member that hears no leader, which may be the vote that it lacks",
    (type) => {
      const receiver = new Receiver();
      const asked = message(type, { term: 5 + 2 * LEAP_MAX, index: 3, logTerm: 5 });
      receiver.give(message(MessageType.Heartbeat, { term: 5 }));
      expect(receiver.give(asked)).toBeNull();
      expect(receiver.core.term).toBe(5);
      for (let i = 0; i < ELECTION_TICKS; i++) receiver.core.tick();
      receiver.tick = ELECTION_TICKS;
      receiver.give(asked);
      expect(receiver.core.term).toBe(5 + 2 * LEAP_MAX);
      expect(receiver.give(asked)).toBe(asked);
    },
  );

  test("a stranger far ahead is not followed", () => {
    const receiver = new Receiver();
    receiver.give(message(MessageType.Heartbeat, { from: 9n, term: 5 + 2 * LEAP_MAX }));
    expect(receiver.core.term).toBe(5);
  });
});

test("a message with an entry that can't be applied does not reach the core", () => {
  const receiver = new Receiver();
  const garbage = entries(4, 5, 5).map((entry) => ({ ...entry, data: new Uint8Array([0x0a, 0xff]) }));
  expect(receiver.give({ ...append, entries: garbage })).toBeNull();
});

describe("a full disk", () => {
  test("an append comes without its entries, all else is kept", () => {
    const receiver = new Receiver();
    receiver.hasSpace = false;
    expect(receiver.give(append)).toEqual({ ...append, entries: [] });
    expect(append.entries).toHaveLength(2);
  });

  test.each([MessageType.Heartbeat, MessageType.Vote, MessageType.AppendResponse, MessageType.TimeoutNow])(
    "message type %i without entries is taken as it is",
    (type) => {
      const receiver = new Receiver();
      receiver.hasSpace = false;
      const given = message(type);
      expect(receiver.give(given)).toBe(given);
    },
  );

  test("a snapshot is not taken, nor decoded", () => {
    const receiver = new Receiver();
    receiver.hasSpace = false;
    receiver.canInstall = jest.fn(() => true);
    expect(receiver.give(snapshot)).toBeNull();
    expect(receiver.canInstall).not.toHaveBeenCalled();
  });
});

test("a snapshot that can't be installed does not reach the core", () => {
  const receiver = new Receiver();
  receiver.canInstall = () => false;
  expect(receiver.give(snapshot)).toBeNull();
  expect(receiver.give(append)).toBe(append);
});

describe("a contradiction", () => {
  const other = message(MessageType.Append, { index: 2, logTerm: 5, commit: 2 });

  test("by a member ends this one, with what differs and what to do", () => {
    const receiver = new Receiver();
    expect(() => receiver.give(other)).toThrow(DivergedError);
    expect(() => receiver.give(other)).toThrow(
      /index 2, of term 4 and committed here, is of term 5 in the log of the leader, member 2\..*remove this member and add it again/,
    );
  });

  test("by a stranger is refused with a line", () => {
    const receiver = new Receiver();
    receiver.strangers = [2n];
    receiver.give(other);
    expect(receiver.log.texts).toEqual([
      expect.stringContaining("warn refused what a stranger sent: the entry at"),
    ]);
  });
});

test("a follower whose log ends before what it acknowledged says so, once in the log", () => {
  const receiver = new Receiver();
  receiver.give(message(MessageType.Heartbeat, { index: 7 }));
  receiver.give(message(MessageType.Heartbeat, { index: 7 }));
  expect(receiver.log.texts).toEqual([expect.stringContaining("error the leader has an acknowledgement")]);
  expect(receiver.regressed).toEqual([]);
});
