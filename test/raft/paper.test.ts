/**
 * The rules of sections 5.1 to 5.4 of the Raft paper (Ongaro and Ousterhout, extended version, 2014), one test each.
 */
import { MessageType } from "../../src/raft/message";
import type { Message } from "../../src/raft/message";
import { NO_NODE, Role } from "../../src/raft/types";
import { entryAt, exchange, message, TestCore } from "./support/core";

const { Append, AppendResponse, Heartbeat, Vote, VoteResponse } = MessageType;
const ELECTION_TICKS = 10;

/** Messages of one type, as [receiver, term]. */
function sent(messages: readonly Message[], type: MessageType): [bigint, number][] {
  return messages.filter((m) => m.type === type).map((m) => [m.to, m.term]);
}

/** A core in each role, all in term 1. */
function coreIn(role: Role): TestCore {
  const core = new TestCore();
  if (role === Role.Follower) core.step(message(Heartbeat, 1));
  else if (role === Role.Leader) core.lead();
  else core.raw.campaign();
  core.drain();
  expect([core.raw.role, core.raw.term]).toEqual([role, 1]);
  return core;
}

describe("5.1 terms", () => {
  test.each([Role.Follower, Role.Candidate, Role.Leader])(
    "a server in role %p whose term is smaller updates it, and becomes follower",
    (role) => {
      for (const type of [Append, AppendResponse, Heartbeat, Vote, VoteResponse]) {
        const core = coreIn(role);
        core.step(message(type, 5));
        expect([core.raw.term, core.raw.role]).toEqual([5, Role.Follower]);
      }
    },
  );

  test.each([Role.Follower, Role.Candidate, Role.Leader])(
    "a server in role %p rejects a stale term",
    (role) => {
      const core = coreIn(role);
      core.step(message(Heartbeat, 4, { from: 3n }));
      const before = core.terms();
      for (const type of [Append, Vote, Heartbeat]) {
        const result = core.raw.step(message(type, 3, { index: 50, logTerm: 2 }));
        expect(result).toEqual({ ok: false, reason: "stale-term" });
      }
      expect([core.raw.term, core.raw.leader]).toEqual([4, 3n]);
      expect(core.terms()).toEqual(before);
    },
  );

  test("term and vote are on stable storage before a request is answered (figure 2)", () => {
    const core = new TestCore();
    core.raw.step(message(Vote, 3));
    const ready = core.raw.ready();
    expect(ready.hardState).toMatchObject({ term: 3, vote: 2n });
    expect(ready.mustSync).toBe(true);
    core.disk.write(ready);
    core.raw.advance();
    core.restart();
    const other = core.step(message(Vote, 3, { from: 3n }));
    expect(other).toMatchObject([{ type: VoteResponse, to: 3n, reject: true }]);
  });
});

describe("5.2 leader election", () => {
  test("servers start up as followers", () => {
    const { raw } = new TestCore({ log: [1, 2] });
    expect([raw.role, raw.leader, raw.term]).toEqual([Role.Follower, NO_NODE, 2]);
  });

  test("a server stays follower as long as it hears from a leader", () => {
    const core = coreIn(Role.Follower);
    for (let i = 0; i < 10 * ELECTION_TICKS; i++) {
      core.step(message(Heartbeat, 1));
      expect(sent(core.tick(1), Vote)).toEqual([]);
    }
    expect(core.raw.role).toBe(Role.Follower);
  });

  test("a leader sends periodic heartbeats to all followers", () => {
    const core = coreIn(Role.Leader);
    for (let i = 0; i < 3; i++) {
      expect(sent(core.tick(1), Heartbeat)).toEqual([
        [2n, 1],
        [3n, 1],
      ]);
    }
  });

  test.each([Role.Follower, Role.Candidate])(
    "a server in role %p that hears nothing for an election timeout starts an election: next term, own vote, requests to all",
    (role) => {
      const core = coreIn(role);
      const requests = core.tick(2 * ELECTION_TICKS).filter((m) => m.type === Vote && m.term === 2);
      expect(sent(requests, Vote)).toEqual([
        [2n, 2],
        [3n, 2],
      ]);
      expect(core.raw.role).toBe(Role.Candidate);
      expect(core.disk.hardState.vote).toBe(1n);
    },
  );

  test.each([
    [1, [], Role.Leader],
    [3, [true, true], Role.Leader],
    [3, [true], Role.Leader],
    [3, [], Role.Candidate],
    [3, [false], Role.Candidate],
    [3, [false, false], Role.Follower],
    [5, [true, true, true, true], Role.Leader],
    [5, [true, true], Role.Leader],
    [5, [true], Role.Candidate],
    [5, [true, false, false], Role.Candidate],
    [5, [false, false, false], Role.Follower],
    [5, [false, false, false, false], Role.Follower],
  ])("in a group of %p a candidate with its own vote and %p is then in role %p", (size, votes, role) => {
    const voters = Array.from({ length: size }, (_, i) => BigInt(i + 1));
    const core = new TestCore({ voters });
    core.raw.campaign();
    core.drain();
    votes.forEach((granted, i) =>
      core.step(message(VoteResponse, 1, { from: BigInt(i + 2), reject: !granted })),
    );
    expect(core.raw.role).toBe(role);
  });

  test("a vote counts once, however often it arrives", () => {
    const core = new TestCore({ voters: [1n, 2n, 3n, 4n, 5n] });
    core.raw.campaign();
    core.drain();
    core.step(...[1, 2, 3].map(() => message(VoteResponse, 1)));
    expect(core.raw.role).toBe(Role.Candidate);
  });

  test.each([
    [0n, 2n, true],
    [0n, 3n, true],
    [2n, 2n, true],
    [3n, 3n, true],
    [2n, 3n, false],
    [3n, 2n, false],
    [1n, 2n, false],
  ])("a server that voted for %p in this term votes for candidate %p: %p", (vote, candidate, granted) => {
    const core = new TestCore({ hardState: { term: 1, vote } });
    const answers = core.step(message(Vote, 1, { from: candidate }));
    expect(answers).toMatchObject([{ type: VoteResponse, to: candidate, term: 1, reject: !granted }]);
  });

  test.each([Append, Heartbeat])("a candidate accepts a leader of its own term (message type %p)", (type) => {
    const core = coreIn(Role.Candidate);
    core.step(message(type, 1));
    expect([core.raw.role, core.raw.leader, core.raw.term]).toEqual([Role.Follower, 2n, 1]);
  });

  test("a candidate that hears a leader of a smaller term stays candidate", () => {
    const core = coreIn(Role.Candidate);
    core.tick(2 * ELECTION_TICKS);
    const { term } = core.raw;
    core.step(message(Append, term - 1));
    expect([core.raw.role, core.raw.term]).toEqual([Role.Candidate, term]);
  });

  test("a leader establishes its authority at once: it sends to all servers", () => {
    const core = new TestCore();
    core.raw.campaign();
    core.drain();
    expect(sent(core.step(message(VoteResponse, 1)), Append)).toEqual([
      [2n, 1],
      [3n, 1],
    ]);
  });

  test.each([Role.Follower, Role.Candidate])(
    "election timeouts in role %p are drawn anew from [n, 2n), every value of it",
    (role) => {
      const seen = new Set<number>();
      const core = coreIn(role);
      for (let round = 0; round < 50 * ELECTION_TICKS; round++) {
        if (role === Role.Follower) core.step(message(Heartbeat, core.raw.term + 1));
        let ticks = 0;
        const { term } = core.raw;
        while (core.raw.term === term) {
          core.tick(1);
          ticks++;
        }
        seen.add(ticks);
      }
      const expected = Array.from({ length: ELECTION_TICKS }, (_, i) => ELECTION_TICKS + i);
      expect([...seen].sort((a, b) => a - b)).toEqual(expected);
    },
  );

  test("random timeouts make split votes rare: of 500 groups, few have two members time out together first", () => {
    let splits = 0;
    for (let seed = 0; seed < 500; seed++) {
      const cores = [1n, 2n, 3n, 4n, 5n].map(
        (id, i) => new TestCore({ id, voters: [1n, 2n, 3n, 4n, 5n], seed: seed * 5 + i }),
      );
      let first = 0;
      while (first === 0) first = cores.filter((core) => sent(core.tick(1), Vote).length > 0).length;
      if (first > 1) splits++;
    }
    // 5 draws from 10 values: in 40 % of cases the smallest is not unique.
    expect(splits).toBeGreaterThan(100);
    expect(splits).toBeLessThan(300);
  });
});

describe("5.3 log replication", () => {
  test("a leader appends a command and sends it to all servers in parallel", () => {
    const core = coreIn(Role.Leader);
    core.acknowledge(2n);
    core.acknowledge(3n);
    const out = core.propose("command").filter((m) => m.type === Append);
    expect(core.disk.lastIndex()).toBe(2);
    expect(out).toMatchObject(
      [2n, 3n].map((to) => ({ to, index: 1, logTerm: 1, commit: 1, entries: [{ index: 2, term: 1 }] })),
    );
  });

  test.each([
    [1, [], true],
    [3, [], false],
    [3, [2n], true],
    [3, [2n, 3n], true],
    [5, [], false],
    [5, [2n], false],
    [5, [2n, 3n], true],
    [5, [2n, 3n, 4n, 5n], true],
  ])("in a group of %p an entry acknowledged by %p others is committed: %p", (size, acks, committed) => {
    const core = new TestCore({ voters: Array.from({ length: size }, (_, i) => BigInt(i + 1)) });
    core.lead();
    core.propose("command");
    for (const from of acks) core.acknowledge(from);
    expect(core.raw.committed).toBe(committed ? 2 : 0);
  });

  test("a committed entry commits everything before it, entries of earlier leaders included, and is applied in order", () => {
    const core = new TestCore({ log: [1, 1, 2] });
    core.lead();
    core.propose("command");
    core.acknowledge(2n);
    expect(core.applied.map(({ index, term }) => [index, term])).toEqual([
      [1, 1],
      [2, 1],
      [3, 2],
      [4, 3],
      [5, 3],
    ]);
  });

  test("followers learn the commit index from later messages, and apply in log order", () => {
    const core = new TestCore();
    core.step(message(Append, 1, { entries: [entryAt(1, 1), entryAt(1, 2), entryAt(1, 3)] }));
    expect(core.applied).toEqual([]);
    core.step(message(Append, 1, { index: 3, logTerm: 1, commit: 2 }));
    expect(core.applied.map((entry) => entry.index)).toEqual([1, 2]);
    core.step(message(Heartbeat, 1, { commit: 3 }));
    expect(core.applied.map((entry) => entry.index)).toEqual([1, 2, 3]);
  });

  test("a follower's commit index is at most the last new entry (figure 2)", () => {
    const core = new TestCore({ log: [1, 1, 1] });
    core.step(message(Append, 2, { index: 0, entries: [entryAt(1, 1)], commit: 3 }));
    expect(core.raw.committed).toBe(1);
  });

  test.each([
    // index, term, accepted
    [0, 0, true],
    [1, 1, true],
    [2, 2, true],
    [1, 2, false],
    [2, 1, false],
    [3, 3, false],
    [3, 2, false],
  ])("the consistency check at %p/%p of a log of terms [1, 2]: accepted %p", (index, logTerm, accepted) => {
    const core = new TestCore({ log: [1, 2] });
    const answers = core.step(message(Append, 3, { index, logTerm }));
    expect(answers).toMatchObject([{ type: AppendResponse, to: 2n, index, reject: !accepted }]);
  });

  test.each([
    [2, 2, [3], [1, 2, 3], [3]],
    [1, 1, [3, 4], [1, 3, 4], [3, 4]],
    [0, 0, [1], [1, 2], []],
    [0, 0, [3], [3], [3]],
    [1, 1, [2], [1, 2], []],
  ])("an Append at %p/%p with terms %p makes a log of [1, 2] %p", (index, logTerm, terms, log, written) => {
    const core = new TestCore({ log: [1, 2] });
    const entries = terms.map((term, i) => entryAt(term, index + 1 + i));
    core.raw.step(message(Append, 4, { index, logTerm, entries }));
    expect(core.raw.ready().entries.map(({ term }) => term)).toEqual(written);
    core.raw.advance();
    const again = new TestCore({ log: [1, 2] });
    again.step(message(Append, 4, { index, logTerm, entries }));
    expect(again.terms()).toEqual(log);
  });

  test("an Append that arrives twice changes nothing, also when later entries have arrived", () => {
    const core = new TestCore();
    const first = message(Append, 1, { entries: [entryAt(1, 1)] });
    core.step(first, message(Append, 1, { index: 1, logTerm: 1, entries: [entryAt(1, 2)] }));
    expect(core.step(first)).toMatchObject([{ type: AppendResponse, reject: false, index: 1 }]);
    expect(core.terms()).toEqual([1, 1]);
  });

  // Figure 7: the leader of term 8 and the followers (a) to (f).
  const LEADER_LOG = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
  test.each([
    ["a", [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ["b", [1, 1, 1, 4]],
    ["c", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ["d", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ["e", [1, 1, 1, 4, 4, 4, 4]],
    ["f", [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
  ])("a leader forces follower (%s) of figure 7 to duplicate its log", (_, log) => {
    const leader = new TestCore({ log: LEADER_LOG, hardState: { term: 7 } });
    const follower = new TestCore({ id: 2n, log, hardState: { term: 7 } });
    leader.raw.campaign();
    leader.drain();
    leader.step(message(VoteResponse, 8, { from: 3n }));
    expect(leader.raw.role).toBe(Role.Leader);
    exchange([leader, follower]);
    for (let i = 0; i < 3; i++) {
      leader.raw.tick();
      exchange([leader, follower]);
    }
    expect(follower.terms()).toEqual([...LEADER_LOG, 8]);
    // Leader append-only (figure 3): its own entries are all still there.
    expect(leader.terms()).toEqual([...LEADER_LOG, 8]);
  });

  test("nextIndex starts just after the leader's last entry, and goes back after a rejection", () => {
    const core = new TestCore({ log: [1, 1, 1] });
    core.raw.campaign();
    core.drain();
    const first = core.step(message(VoteResponse, 2)).filter((m) => m.type === Append);
    expect(first).toMatchObject([{ index: 3 }, { index: 3 }]);
    const retried = core.step(
      message(AppendResponse, 2, { index: 3, reject: true, rejectHint: 1, logTerm: 1 }),
    );
    expect(retried).toMatchObject([
      { type: Append, to: 2n, index: 1, entries: [{ index: 2 }, { index: 3 }, { index: 4 }] },
    ]);
  });

  test("a leader sends again, for ever, until every follower has all entries, also after it has answered the client", () => {
    const core = coreIn(Role.Leader);
    core.acknowledge(2n);
    core.propose("command");
    core.acknowledge(2n);
    expect(core.raw.committed).toBe(2);
    for (let i = 0; i < 20; i++) {
      core.tick(1);
      const again = core.step(message(MessageType.HeartbeatResponse, 1, { from: 3n }));
      expect(again).toMatchObject([
        { type: Append, to: 3n, index: 0, entries: [{ index: 1 }, { index: 2 }] },
      ]);
    }
  });
});

describe("5.4 safety", () => {
  test.each([
    // own log, candidate's last term, last index, granted
    [[], 0, 0, true],
    [[1], 1, 1, true],
    [[1], 1, 2, true],
    [[1, 1], 1, 1, false],
    [[1], 2, 1, true],
    [[1, 1], 2, 1, true],
    [[1, 2], 1, 3, false],
    [[2], 1, 1, false],
    [[2], 1, 2, false],
  ])(
    "5.4.1: a voter with log %p grants a candidate whose log ends with term %p at %p: %p",
    (log, logTerm, index, granted) => {
      const core = new TestCore({ log, hardState: { term: 3 } });
      const answers = core.step(message(Vote, 4, { logTerm, index }));
      expect(answers).toMatchObject([{ type: VoteResponse, reject: !granted, term: 4 }]);
    },
  );

  test("5.4.1: a request for votes tells the candidate's last term and index", () => {
    const core = new TestCore({ log: [1, 2, 2] });
    core.raw.campaign();
    expect(core.drain()).toMatchObject(
      [2n, 3n].map((to) => ({ type: Vote, to, term: 3, logTerm: 2, index: 3 })),
    );
  });

  test.each([
    // acknowledged up to, commit index then
    [1, 0],
    [2, 0],
    [3, 3],
  ])(
    "5.4.2: with a log of terms [1, 2] and its own entry at 3, a majority up to %p commits up to %p",
    (index, committed) => {
      const core = new TestCore({ log: [1, 2] });
      core.lead();
      expect(core.raw.term).toBe(3);
      core.acknowledge(2n, index);
      expect(core.raw.committed).toBe(committed);
    },
  );

  test("5.4.2: the schedule of figure 8: an entry of an earlier term on a majority is not committed, and is lost safely", () => {
    const voters = [1n, 2n, 3n, 4n, 5n];
    // (c): S1 leads again in term 4 with its entry of term 2; S5 holds an entry of term 3 at the same index.
    const s1 = new TestCore({ voters, log: [1, 2], hardState: { term: 3 } });
    const s2 = new TestCore({ id: 2n, voters, log: [1, 2], hardState: { term: 3 } });
    const s3 = new TestCore({ id: 3n, voters, log: [1], hardState: { term: 3 } });
    const s4 = new TestCore({ id: 4n, voters, log: [1], hardState: { term: 3 } });
    const s5 = new TestCore({ id: 5n, voters, log: [1, 3], hardState: { term: 3 } });
    s1.raw.campaign();
    // S5 is away; S1's own entry of term 4 reaches nobody, its entry of term 2 reaches S3.
    const upToIndex2 = (m: Message): boolean =>
      m.to === 5n ||
      m.from === 5n ||
      (m.type === Append && (m.index === 2 || m.entries.some(({ term }) => term === 4)));
    exchange([s1, s2, s3, s4, s5], upToIndex2);
    expect(s1.raw.role).toBe(Role.Leader);
    s3.step(
      message(Append, 4, {
        from: 1n,
        index: 1,
        logTerm: 1,
        entries: [entryAt(2, 2)],
        commit: s1.raw.committed,
      }),
    );
    s1.acknowledge(2n, 2);
    s1.acknowledge(3n, 2);
    expect([s1, s2, s3].map((core) => core.terms()[1])).toEqual([2, 2, 2]);
    expect(s1.raw.committed).toBe(0);
    // (d): S1 crashes; S5 is elected by S3 and S4... which needs a log at least as new: S2, S3, S4 end with term 2 or
    // 1.
    s5.raw.campaign();
    exchange([s2, s3, s4, s5]);
    s5.raw.campaign();
    exchange([s2, s3, s4, s5]);
    expect(s5.raw.role).toBe(Role.Leader);
    for (const core of [s2, s3, s4, s5]) expect(core.terms().slice(0, 2)).toEqual([1, 3]);
    expect(s2.applied.map(({ term }) => term).slice(0, 2)).toEqual([1, 3]);
  });

  test("5.4.2: figure 8 (e): once an entry of its own term is on a majority, no other can be elected", () => {
    const voters = [1n, 2n, 3n, 4n, 5n];
    const cores = [2n, 3n].map((id) => new TestCore({ id, voters, log: [1, 2, 4] }));
    const s4 = new TestCore({ id: 4n, voters, log: [1], hardState: { term: 4 } });
    const s5 = new TestCore({ id: 5n, voters, log: [1, 3], hardState: { term: 4 } });
    for (let i = 0; i < 3; i++) {
      s5.raw.campaign();
      exchange([...cores, s4, s5]);
    }
    expect(s5.raw.role).not.toBe(Role.Leader);
  });

  test("5.4.3: of a group whose majority holds a committed entry, only members that hold it can be elected", () => {
    const voters = [1n, 2n, 3n];
    for (const without of voters) {
      const cores = voters.map(
        (id) => new TestCore({ id, voters, log: id === without ? [1] : [1, 2], hardState: { term: 2 } }),
      );
      for (const candidate of cores) {
        const fresh = cores.map(
          ({ id }) =>
            new TestCore({ id, voters, log: id === without ? [1] : [1, 2], hardState: { term: 2 } }),
        );
        const own = fresh.find(({ id }) => id === candidate.id);
        own?.raw.campaign();
        exchange(fresh);
        expect(own?.raw.role === Role.Leader).toBe(candidate.id !== without);
      }
    }
  });
});
