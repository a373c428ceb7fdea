/**
 * Defects that other implementations had in elections, reads and storage, as far as the core decides them. Numbers as
 * in the table of docs/raft.md.
 */
import { MessageType } from "../../src/raft/message";
import type { Message } from "../../src/raft/message";
import { LOCAL_APPEND_THREAD, NO_NODE, Role } from "../../src/raft/types";
import type { NodeId } from "../../src/raft/types";
import { entryAt, message, TestCore } from "./support/core";
import { ELECTION_TICKS, group, settle, snapshotAt, types } from "./support/group";

const { Append, AppendResponse, Heartbeat, HeartbeatResponse, PreVote, PreVoteResponse, Vote, VoteResponse } =
  MessageType;

describe("elections", () => {
  const quiet = { preVote: true, checkQuorum: true };

  test("22: a member that returns from a partition, or after its removal, does not disturb the leader", () => {
    const cores = group(3, { config: quiet });
    const [leader, , third] = cores;
    const term = leader?.raw.term;
    third?.tick(20 * ELECTION_TICKS);
    expect(third?.raw.term).toBe(term);
    settle(cores, 5 * ELECTION_TICKS);
    expect([leader?.raw.role, leader?.raw.term]).toEqual([Role.Leader, term]);
    // A member that is not listed, with a high term: members that hear a leader ignore it.
    const answers = cores[1]?.step({ ...message(Vote, 99, { from: 9n, index: 99, logTerm: 98 }), to: 2n });
    expect([answers, cores[1]?.raw.term]).toEqual([[], term]);
  });

  test("23: a pre-candidate of a smaller term learns the term from the rejection, and so gets on", () => {
    const voter = new TestCore({ hardState: { term: 5 }, config: { preVote: true } });
    const [answer] = voter.step(message(PreVote, 3, { index: 9, logTerm: 2 }));
    expect(answer).toMatchObject({ type: PreVoteResponse, term: 5, reject: true });
    const candidate = new TestCore({ id: 2n, hardState: { term: 2 }, config: { preVote: true } });
    candidate.raw.campaign();
    candidate.drain();
    candidate.step(message(PreVoteResponse, 5, { from: 1n, reject: true }));
    expect([candidate.raw.term, candidate.raw.role]).toEqual([5, Role.Follower]);
  });

  test.each([{ preVote: true }, { checkQuorum: true }])(
    "23: with %p a leader of a smaller term learns the term, or its follower would ignore it for ever",
    (config) => {
      const core = new TestCore({ hardState: { term: 5 }, config });
      for (const type of [Append, Heartbeat]) {
        expect(core.step(message(type, 3))).toMatchObject([{ type: AppendResponse, to: 2n, term: 5 }]);
      }
    },
  );

  test.each([
    [Vote, VoteResponse],
    [PreVote, PreVoteResponse],
  ])("23: a candidate of a smaller term learns the term (message type %p)", (request, answer) => {
    const core = new TestCore({ hardState: { term: 5 } });
    expect(core.step(message(request, 3))).toMatchObject([{ type: answer, to: 2n, term: 5, reject: true }]);
  });

  test("22: a leader of a smaller term learns the term from a learner, which could not show it by an election", () => {
    const learner = new TestCore({ voters: [2n, 3n], learners: [1n], hardState: { term: 5 } });
    expect(learner.step(message(Heartbeat, 3))).toMatchObject([{ type: AppendResponse, to: 2n, term: 5 }]);
    const voter = new TestCore({ hardState: { term: 5 } });
    expect(voter.step(message(Heartbeat, 3))).toEqual([]);
  });

  test("24: who steps down within a term keeps its vote of that term", () => {
    const leader = new TestCore({ config: { checkQuorum: true } });
    leader.lead();
    while (leader.raw.role === Role.Leader) leader.tick(1);
    const candidate = new TestCore();
    candidate.raw.campaign();
    candidate.drain();
    const refusal = message(VoteResponse, 1, { reject: true });
    candidate.step(refusal, { ...refusal, from: 3n });
    for (const core of [leader, candidate]) {
      expect([core.raw.role, core.raw.term]).toEqual([Role.Follower, 1]);
      const answers = core.step(message(Vote, 1, { from: 3n }));
      expect(answers).toMatchObject([{ type: VoteResponse, to: 3n, reject: true }]);
      expect(core.disk.hardState).toMatchObject({ term: 1, vote: 1n });
    }
  });

  test("25: term and vote reach the disk in one value", () => {
    const core = new TestCore();
    core.raw.step(message(Vote, 7));
    expect(core.raw.ready().hardState).toEqual({ term: 7, vote: 2n, commit: 0 });
  });

  test("26: with one link down the leader stays, term after term", () => {
    const cores = group(3, { config: quiet });
    const [leader] = cores;
    const term = leader?.raw.term;
    settle(cores, 20 * ELECTION_TICKS, (m) => m.from + m.to === 4n && m.from !== 2n);
    expect([leader?.raw.role, leader?.raw.term]).toEqual([Role.Leader, term]);
    leader?.propose("through the other link");
    settle(cores, 2, (m) => m.from + m.to === 4n && m.from !== 2n);
    expect(leader?.raw.committed).toBe(leader?.raw.lastIndex);
  });
});

describe("reads", () => {
  function leading(): TestCore {
    const core = new TestCore();
    core.lead();
    core.acknowledge(2n);
    core.acknowledge(3n);
    return core;
  }

  /** Answers heartbeats as `from`. */
  function confirm(heartbeats: readonly Message[], from: NodeId): Message[] {
    return heartbeats
      .filter((m) => m.type === Heartbeat && m.to === from)
      .map((m) => message(HeartbeatResponse, m.term, { from, context: m.context }));
  }

  test("27: a context used twice is not confirmed by answers to the first use", () => {
    const core = leading();
    core.raw.readIndex(7n);
    const first = core.drain();
    core.step(...confirm(first, 2n));
    expect(core.reads).toEqual([{ index: 1, context: 7n }]);
    core.propose("new");
    core.acknowledge(2n);
    core.raw.readIndex(7n);
    const second = core.drain();
    core.step(...confirm(first, 3n), ...confirm(first, 2n));
    expect(core.reads.length).toBe(1);
    core.step(...confirm(second, 3n));
    expect(core.reads).toEqual([
      { index: 1, context: 7n },
      { index: 2, context: 7n },
    ]);
  });

  test("27: answers of an earlier leadership do not confirm", () => {
    const core = leading();
    core.raw.readIndex(7n);
    const old = confirm(core.drain(), 2n);
    core.step(message(Heartbeat, 2, { from: 3n }));
    core.lead();
    core.acknowledge(2n);
    core.raw.readIndex(8n);
    core.drain();
    core.step(...old);
    expect(core.reads).toEqual([]);
  });

  test("28: no read is answered before the term's first entry is committed", () => {
    const core = new TestCore({ log: [1, 1] });
    core.lead();
    core.raw.readIndex(7n);
    const beats = core.drain();
    core.step(...confirm([...beats, ...core.tick(1)], 2n));
    expect(core.reads).toEqual([]);
    core.acknowledge(2n);
    core.step(...confirm(core.tick(1), 2n));
    expect(core.reads).toEqual([{ index: 3, context: 7n }]);
  });

  test("28: a single voter that restarted answers with what was acknowledged before, not with the saved commit index", () => {
    const core = new TestCore({ voters: [1n], log: [1, 1, 1], hardState: { commit: 1 } });
    core.raw.campaign();
    core.drain();
    expect(core.raw.role).toBe(Role.Leader);
    core.raw.readIndex(7n);
    core.drain();
    expect(core.reads).toEqual([{ index: 4, context: 7n }]);
  });
});

describe("storage", () => {
  test("30: a single voter commits only what is on its own disk", () => {
    const core = new TestCore({ voters: [1n], config: { asyncStorageWrites: true } });
    core.raw.campaign();
    const vote = core.raw.ready().messages.at(-1);
    expect([vote?.to, core.raw.role]).toEqual([LOCAL_APPEND_THREAD, Role.Candidate]);
    for (const m of vote?.responses ?? []) core.raw.stepLocal(m);
    expect(core.raw.role).toBe(Role.Leader);
    core.raw.propose([Buffer.from("x")]);
    const work = core.raw.ready().messages.at(-1);
    for (let i = 0; i < ELECTION_TICKS; i++) core.raw.tick();
    expect([core.raw.committed, work?.entries.length]).toEqual([0, 2]);
    core.disk.write({ hardState: null, snapshot: null, entries: work?.entries ?? [], mustSync: true });
    for (const m of work?.responses ?? []) core.raw.stepLocal(m);
    expect(core.raw.committed).toBe(2);
  });

  test.each([
    [Vote, VoteResponse, {}],
    [Append, AppendResponse, { entries: [entryAt(1, 1)] }],
    [PreVote, PreVoteResponse, {}],
    [Append, AppendResponse, { index: 9, logTerm: 1 }],
  ])(
    "31: the answer to message type %p leaves only when what it was built on is synced",
    (type, answer, fields) => {
      const core = new TestCore({ config: { asyncStorageWrites: true } });
      core.raw.step(message(type, 1, fields));
      const { messages } = core.raw.ready();
      expect(messages.map((m) => m.to)).toEqual([LOCAL_APPEND_THREAD]);
      expect(types(messages[0]?.responses ?? [])).toContain(answer);
    },
  );

  test("36: what was applied is committed after a restart, also when the record of the commit index was lost", () => {
    const core = new TestCore({ log: [1, 1, 1], hardState: { commit: 1 } });
    core.restart({ applied: 3 });
    expect([core.raw.applied, core.raw.committed]).toEqual([3, 3]);
    expect(core.raw.hasReady()).toBe(false);
  });

  test("36: a saved commit index behind the snapshot is raised, one beyond the log stops the start", () => {
    const core = new TestCore({ log: [1, 1, 1], hardState: { commit: 3 } });
    core.drain();
    core.compact();
    core.disk.hardState = { term: 1, vote: NO_NODE, commit: 0 };
    core.restart({ applied: 3 });
    expect(core.raw.committed).toBe(3);
    core.disk.hardState = { term: 1, vote: NO_NODE, commit: 4 };
    expect(() => {
      core.restart({ applied: 3 });
    }).toThrow("commit index is beyond the saved log");
  });

  test("37: two snapshots in a short time: the first one's completion does not count for the second", () => {
    const core = new TestCore({ config: { asyncStorageWrites: true } });
    const install = (index: number): Message | undefined => {
      core.raw.step(
        message(MessageType.Snapshot, 1, { snapshot: snapshotAt(index, 1, { voters: [1n, 2n, 3n] }) }),
      );
      return core.raw.ready().messages.at(-1);
    };
    const first = install(10);
    const second = install(20);
    for (const m of first?.responses ?? []) if (m.to === 1n) core.raw.stepLocal(m);
    expect([core.raw.committed, core.raw.applied]).toEqual([20, 10]);
    expect(second?.snapshot?.meta.index).toBe(20);
    for (const m of second?.responses ?? []) if (m.to === 1n) core.raw.stepLocal(m);
    expect(core.raw.applied).toBe(20);
  });

  test("37: the acknowledgement of entries that were replaced meanwhile does not count for the new ones", () => {
    const core = new TestCore({ config: { asyncStorageWrites: true } });
    const append = (term: number, from: NodeId): Message | undefined => {
      core.raw.step(message(Append, term, { from, entries: [entryAt(term, 1)] }));
      return core.raw.ready().messages.at(-1);
    };
    const orders = [append(1, 2n), append(2, 3n), append(3, 2n)];
    core.raw.step(message(Heartbeat, 3, { commit: 1 }));
    const storage = (m: Message | undefined): Message[] =>
      (m?.responses ?? []).filter((response) => response.from === LOCAL_APPEND_THREAD);
    for (const m of [...storage(orders[0]), ...storage(orders[1])]) core.raw.stepLocal(m);
    expect(core.raw.ready().committedEntries).toEqual([]);
    core.disk.write({ hardState: null, snapshot: null, entries: [entryAt(3, 1)], mustSync: true });
    for (const m of storage(orders[2])) core.raw.stepLocal(m);
    expect(core.raw.ready().committedEntries).toMatchObject([{ term: 3, index: 1 }]);
  });

  test("37: nor does the acknowledgement of an order of the same term that was made before they were replaced", () => {
    const core = new TestCore({ config: { asyncStorageWrites: true } });
    core.raw.step(message(Append, 1, { entries: [entryAt(1, 1)] }));
    core.raw.ready();
    // The vote's order names the whole unstable tail, and is of the term in which the tail is then replaced.
    core.raw.step(message(Vote, 3, { from: 3n, index: 1, logTerm: 1 }));
    const vote = core.raw.ready().messages.at(-1);
    core.raw.step(message(Append, 3, { from: 3n, entries: [entryAt(3, 1)], commit: 1 }));
    core.raw.ready();
    expect(vote?.responses).toMatchObject([
      { type: VoteResponse },
      { from: LOCAL_APPEND_THREAD, index: 1, logTerm: 1, term: 3 },
    ]);
    for (const m of vote?.responses ?? []) if (m.from === LOCAL_APPEND_THREAD) core.raw.stepLocal(m);
    expect(core.raw.committed).toBe(1);
    expect(core.raw.ready().committedEntries).toEqual([]);
  });

  test("38: nothing acknowledges a snapshot before it is written, though mustSync alone would not ask for the sync", () => {
    const snapshot = snapshotAt(10, 1, { voters: [1n, 2n, 3n] });
    const sync = new TestCore({ log: [1], hardState: { term: 1 } });
    sync.raw.step(message(MessageType.Snapshot, 1, { snapshot }));
    expect(sync.raw.ready()).toMatchObject({ snapshot, mustSync: false });
    const core = new TestCore({ log: [1], hardState: { term: 1 }, config: { asyncStorageWrites: true } });
    core.raw.step(message(MessageType.Snapshot, 1, { snapshot }));
    const { messages } = core.raw.ready();
    expect(messages.map((m) => m.to)).toEqual([LOCAL_APPEND_THREAD]);
    expect(types(messages[0]?.responses ?? [])).toContain(AppendResponse);
  });
});
