/**
 * Defects that other implementations had in configuration changes, as far as the core decides them. Numbers as in the
 * table of docs/raft.md.
 */
import { MessageType } from "../../src/raft/message";
import type { Message } from "../../src/raft/message";
import {
  ConfChangeTransition,
  ConfChangeType,
  EMPTY_CONF_STATE,
  EntryType,
  NO_NODE,
  Role,
} from "../../src/raft/types";
import { changeOf, entryAt, exchange, message, TestCore } from "./support/core";
import {
  add,
  changeEntry,
  demote,
  ELECTION_TICKS,
  group,
  remove,
  settle,
  snapshotAt,
  types,
} from "./support/group";

const { Append, AppendResponse, Heartbeat, Vote, VoteResponse } = MessageType;
const { Remove } = ConfChangeType;

describe("configuration changes, safety", () => {
  test.each([
    ["add and remove", [add(4n)], [remove(2n)]],
    ["add and add", [add(4n)], [add(5n)]],
    ["remove and remove", [remove(3n)], [remove(2n)]],
  ])(
    "1: no configuration change before an entry of the own term is applied: %s",
    (_, inherited, proposed) => {
      const core = new TestCore({ log: [1, 1] });
      core.disk.write({
        hardState: null,
        snapshot: null,
        entries: [changeEntry(1, 2, changeOf(inherited))],
        mustSync: true,
      });
      core.restart();
      core.lead();
      expect(core.raw.proposeConfChange(changeOf(proposed))).toMatchObject({ ok: false, refusal: "pending" });
      core.drain();
      // An acknowledgement of the inherited entry alone commits nothing (5.4.2), so nothing is allowed either.
      core.acknowledge(2n, 2);
      expect(core.raw.proposeConfChange(changeOf(proposed))).toMatchObject({ ok: false, refusal: "pending" });
      core.drain();
      core.acknowledge(2n);
      core.acknowledge(3n);
      expect(core.confState.voters).toEqual(inherited[0]?.type === Remove ? [1n, 2n] : [1n, 2n, 3n, 4n]);
      expect(core.raw.proposeConfChange(changeOf(proposed)).ok).toBe(true);
    },
  );

  test("2: a voter with a committed configuration change that it has not applied does not campaign", () => {
    const core = new TestCore();
    const entries = [entryAt(1, 1), changeEntry(1, 2, changeOf([add(4n)]))];
    core.raw.step(message(Append, 1, { entries, commit: 2 }));
    core.raw.campaign();
    for (let i = 0; i < 4 * ELECTION_TICKS; i++) core.raw.tick();
    core.raw.step(message(MessageType.TimeoutNow, 1));
    expect([core.raw.role, core.raw.term]).toEqual([Role.Follower, 1]);
    core.drain();
    core.raw.campaign();
    expect(core.raw.role).toBe(Role.Candidate);
    expect(core.drain().map((m) => m.to)).toEqual([2n, 3n, 4n]);
  });

  test("3: a new leader takes its whole tail for a possible configuration change; at most one is unapplied", () => {
    const core = new TestCore({ log: [1, 1, 1] });
    core.lead();
    expect(core.raw.status().pendingConfIndex).toBe(3);
    expect(core.raw.proposeConfChange(changeOf([add(4n)]))).toMatchObject({ ok: false, refusal: "pending" });
    core.drain();
    core.acknowledge(2n);
    expect(core.raw.proposeConfChange(changeOf([add(4n)]))).toMatchObject({ ok: true, index: 6 });
    expect(core.raw.proposeConfChange(changeOf([add(5n)]))).toMatchObject({ ok: false, refusal: "pending" });
    core.drain();
    core.acknowledge(2n);
    expect(core.raw.proposeConfChange(changeOf([add(5n)])).ok).toBe(true);
  });

  test("4: an installed snapshot replaces the configuration, and older changes still being applied are ignored", () => {
    const core = new TestCore();
    const late = changeOf([add(9n)]);
    core.step(message(Append, 1, { entries: [entryAt(1, 1), changeEntry(1, 2, late)] }));
    core.raw.step(
      message(MessageType.Snapshot, 1, { snapshot: snapshotAt(10, 1, { voters: [1n, 4n, 5n] }) }),
    );
    expect(core.raw.applyConfChange(late, 2).voters).toEqual([1n, 4n, 5n]);
    expect(core.raw.hasPendingSnapshot).toBe(true);
    core.drain();
    expect(core.raw.hasPendingSnapshot).toBe(false);
    expect(core.raw.applyConfChange(late, 2).voters).toEqual([1n, 4n, 5n]);
    core.raw.campaign();
    expect(core.drain().map((m) => m.to)).toEqual([4n, 5n]);
    // Two of the old configuration are no quorum of the new one.
    core.step(message(VoteResponse, 2, { from: 2n }), message(VoteResponse, 2, { from: 3n }));
    expect(core.raw.role).toBe(Role.Candidate);
  });

  test.each([
    ["incoming", [1n, 2n, 3n], [1n], 2n],
    ["outgoing", [1n], [1n, 2n, 3n], 3n],
    ["both", [1n, 2n, 3n], [1n, 2n, 4n], 2n],
  ])(
    "5: a joint configuration needs both majorities, also of overlapping sets: %s decides",
    (_, voters, votersOutgoing, last) => {
      const core = new TestCore({ confState: { ...EMPTY_CONF_STATE, voters, votersOutgoing } });
      core.raw.campaign();
      core.drain();
      expect(core.raw.role).toBe(Role.Candidate);
      core.step(message(VoteResponse, 1, { from: last }));
      expect(core.raw.role).toBe(Role.Leader);
      expect(core.raw.committed).toBe(0);
      core.acknowledge(last);
      expect(core.raw.committed).toBe(1);
    },
  );

  test("6: a member that lost its log is refused or ignored, and hurts nobody", () => {
    const leader = new TestCore();
    leader.lead();
    leader.propose("a", "b");
    leader.acknowledge(2n);
    expect(leader.raw.committed).toBe(3);
    // The wiped member says that it holds nothing: what it once acknowledged stays acknowledged.
    leader.step(message(AppendResponse, 1, { index: 3, reject: true, rejectHint: 0 }));
    expect(leader.raw.status().progress.get(2n)?.match).toBe(3);
    const wiped = new TestCore({ id: 2n });
    wiped.step({ ...message(Append, 1, { from: 1n, index: 3, logTerm: 1 }), to: 2n });
    expect(wiped.raw.step({ ...message(Heartbeat, 1, { from: 1n, commit: 3 }), to: 2n })).toEqual({
      ok: false,
      reason: "commit-beyond-match",
    });
    expect(wiped.raw.committed).toBe(0);
  });

  test("10: a restart from a snapshot that is older than a configuration change applies the change again", () => {
    const core = new TestCore();
    core.lead();
    core.acknowledge(2n);
    const saved = core.compact();
    core.raw.proposeConfChange(changeOf([add(4n)]));
    core.drain();
    core.acknowledge(2n);
    expect(core.confState.voters).toEqual([1n, 2n, 3n, 4n]);
    core.confState = saved.meta.confState;
    core.restart({ applied: saved.meta.index });
    expect(core.raw.status().confState.voters).toEqual([1n, 2n, 3n]);
    core.raw.campaign();
    expect(core.raw.role).toBe(Role.Follower);
    core.drain();
    expect(core.raw.status().confState.voters).toEqual([1n, 2n, 3n, 4n]);
  });
});

describe("configuration changes, liveness", () => {
  const stepsDown = { config: { stepDownOnRemoval: true } };

  test.each([
    ["removed", remove(1n)],
    ["demoted", demote(1n)],
  ])("11: a leader that is %s stops to lead and sends no more heartbeats", (_, change) => {
    const core = new TestCore(stepsDown);
    core.lead();
    core.acknowledge(2n);
    core.raw.proposeConfChange(changeOf([change]));
    core.drain();
    expect(core.raw.role).toBe(Role.Leader);
    core.acknowledge(2n);
    expect([core.raw.role, core.raw.leader]).toEqual([Role.Follower, NO_NODE]);
    expect(types(core.tick(5 * ELECTION_TICKS))).toEqual([]);
  });

  test("11, 12: a leader that a joint change demotes leads until the final configuration is applied", () => {
    const cores = group(4, { ...stepsDown, voters: [1n, 2n, 3n] });
    const [leader] = cores;
    if (leader === undefined) throw new Error("no leader");
    const explicit = ConfChangeTransition.JointExplicit;
    leader.raw.proposeConfChange(changeOf([demote(1n), add(4n)], explicit));
    settle(cores);
    expect(leader.confState).toMatchObject({
      voters: [2n, 3n, 4n],
      votersOutgoing: [1n, 2n, 3n],
      learnersNext: [1n],
    });
    expect(leader.raw.role).toBe(Role.Leader);
    leader.raw.proposeConfChange(changeOf([]));
    // Without the new majority the last entry does not commit, and leadership is kept.
    settle(cores, 2, (m) => m.to === 4n || m.to === 3n);
    expect([leader.raw.role, leader.confState.votersOutgoing.length]).toEqual([Role.Leader, 3]);
    settle(cores, 4);
    expect([leader.raw.role, leader.confState.learners]).toEqual([Role.Follower, [1n]]);
    settle(cores, 4 * ELECTION_TICKS);
    expect(cores.filter((core) => core.raw.role === Role.Leader).length).toBe(1);
  });

  test.each([1n, 2n])(
    "13: removing member %p of two leaves one that works, also when the other applies late",
    (removed) => {
      const cores = group(2, stepsDown);
      const rest = cores.find((core) => core.id !== removed);
      cores[0]?.raw.proposeConfChange(changeOf([remove(removed)]));
      settle(cores);
      const alone = rest === undefined ? [] : [rest];
      settle(alone, 4 * ELECTION_TICKS);
      expect([rest?.raw.role, rest?.confState.voters]).toEqual([Role.Leader, [removed === 1n ? 2n : 1n]]);
      const before = rest?.raw.committed ?? 0;
      rest?.propose("alone");
      expect(rest?.raw.committed).toBe(before + 1);
    },
  );

  test.each([{ preVote: false }, { preVote: true }])(
    "13: a removed leader whose log is longer informs the others that its removal is committed (%p)",
    (config) => {
      const cores = group(2, { config: { stepDownOnRemoval: true, ...config } });
      const [leader, rest] = cores;
      const removal = (leader?.raw.lastIndex ?? 0) + 1;
      leader?.raw.proposeConfChange(changeOf([remove(1n)]));
      leader?.raw.propose([Buffer.from("late")]);
      // Member 2 acknowledges the removal, and hears neither of its commit nor of the entry after it.
      exchange(
        cores,
        (m) => m.to === 2n && (m.commit >= removal || m.entries.some(({ index }) => index > removal)),
      );
      expect([leader?.confState.voters, rest?.confState.voters]).toEqual([[2n], [1n, 2n]]);
      settle(cores, 6 * ELECTION_TICKS);
      expect([rest?.raw.role, rest?.confState.voters]).toEqual([Role.Leader, [2n]]);
    },
  );

  test("13, 19: a promoted learner whose log is longest learns of its promotion from the candidate that it refuses", () => {
    const promotion = changeEntry(1, 2, changeOf([add(2n)]));
    const voters = { voters: [1n], learners: [2n] };
    const short = new TestCore({ ...voters, log: [1] });
    short.disk.write({
      hardState: { term: 1, vote: 1n, commit: 2 },
      snapshot: null,
      entries: [promotion],
      mustSync: true,
    });
    short.restart();
    const long = new TestCore({ ...voters, id: 2n, log: [1, 1, 1] });
    long.disk.write({ hardState: null, snapshot: null, entries: [promotion, entryAt(1, 3)], mustSync: true });
    long.restart();
    settle([short, long], 6 * ELECTION_TICKS);
    expect(long.confState.voters).toEqual([1n, 2n]);
    expect([short, long].filter((core) => core.raw.role === Role.Leader)).toHaveLength(1);
    expect(short.terms()).toEqual(long.terms());
  });

  test("14: a learner that does not know of its promotion votes", () => {
    const core = new TestCore({ id: 3n, voters: [1n], learners: [3n] });
    expect(core.step(message(Vote, 2))).toMatchObject([{ type: VoteResponse, to: 2n, reject: false }]);
  });

  test("15: a joint configuration is left once, and after a leader change by the new leader", () => {
    const cores = group(5);
    const [first, second] = cores;
    first?.raw.proposeConfChange(changeOf([demote(5n)], ConfChangeTransition.JointImplicit));
    // Everybody hears of the joint configuration; nobody of the change that leaves it.
    const leaving = (m: Message): boolean =>
      m.entries.some((entry) => entry.confChange?.changes.length === 0);
    settle(cores, 3, leaving);
    expect(cores.map((core) => core.confState.autoLeave)).toEqual([true, true, true, true, true]);
    const proposed = first?.terms().length;
    // While it is pending it is not proposed again.
    settle(cores, 3, leaving);
    expect(first?.terms().length).toBe(proposed);
    expect(second?.terms().length).toBe((proposed ?? 0) - 1);
    second?.raw.campaign();
    settle(cores, 3);
    expect(second?.raw.role).toBe(Role.Leader);
    for (const core of cores) {
      expect(core.confState).toEqual({ ...EMPTY_CONF_STATE, voters: [1n, 2n, 3n, 4n], learners: [5n] });
    }
    // One change that leaves, in any log.
    const left = second?.applied.filter((entry) => entry.confChange?.changes.length === 0);
    expect(left?.length).toBe(1);
  });

  test.each([1n, 2n])(
    "15: a joint configuration is left as soon as a transfer is aborted (%p asks)",
    (asks) => {
      const core = new TestCore();
      core.lead();
      core.acknowledge(2n);
      core.raw.proposeConfChange(changeOf([demote(3n)], ConfChangeTransition.JointImplicit));
      core.drain();
      core.raw.transferLeader(2n);
      core.acknowledge(2n);
      expect(core.confState).toMatchObject({ votersOutgoing: [1n, 2n, 3n], autoLeave: true });
      // While leadership is handed over nothing is proposed.
      const joint = core.raw.lastIndex;
      core.tick(1);
      expect(core.raw.lastIndex).toBe(joint);
      // A transfer to the leader itself ends the one under way.
      if (asks === 1n) core.raw.transferLeader(1n);
      else core.raw.step(message(MessageType.TransferLeader, core.raw.term, { from: 1n }));
      expect(core.raw.lastIndex).toBe(joint + 1);
      core.drain();
      core.acknowledge(2n);
      expect(core.confState).toEqual({ ...EMPTY_CONF_STATE, voters: [1n, 2n], learners: [3n] });
    },
  );

  test("15: replacing one transfer by another proposes nothing", () => {
    const core = new TestCore();
    core.lead();
    core.acknowledge(2n);
    core.raw.proposeConfChange(changeOf([add(4n)], ConfChangeTransition.JointImplicit));
    core.drain();
    core.raw.transferLeader(2n);
    core.acknowledge(2n);
    const joint = core.raw.lastIndex;
    core.raw.transferLeader(3n);
    core.drain();
    expect([core.raw.status().leaderTransferee, core.raw.lastIndex]).toEqual([3n, joint]);
  });

  test.each([
    ConfChangeTransition.Auto,
    ConfChangeTransition.JointImplicit,
    ConfChangeTransition.JointExplicit,
  ])("16: a change without steps is refused outside a joint configuration (transition %p)", (transition) => {
    const core = new TestCore();
    core.lead();
    core.acknowledge(2n);
    expect(core.raw.proposeConfChange(changeOf([], transition))).toMatchObject({ refusal: "not-joint" });
    core.drain();
    core.acknowledge(2n);
    expect(core.confState).toEqual({ ...EMPTY_CONF_STATE, voters: [1n, 2n, 3n] });
  });

  test("16: inside a joint configuration only the change without steps and transition leaves it", () => {
    const voters = [1n, 2n, 3n];
    const core = new TestCore({ confState: { ...EMPTY_CONF_STATE, voters, votersOutgoing: voters } });
    core.lead();
    core.acknowledge(2n);
    for (const transition of [ConfChangeTransition.JointImplicit, ConfChangeTransition.JointExplicit]) {
      const result = core.raw.proposeConfChange(changeOf([], transition));
      expect(result).toMatchObject({ refusal: "must-leave-joint" });
      core.drain();
      core.acknowledge(2n);
    }
    expect(core.raw.proposeConfChange(changeOf([])).ok).toBe(true);
  });

  test("16: a refused change is returned to its proposer, and stands in the log as an empty entry", () => {
    const core = new TestCore();
    core.lead();
    core.acknowledge(2n);
    const last = core.raw.lastIndex;
    const result = core.raw.proposeConfChange(changeOf([]));
    expect(result).toMatchObject({ ok: false, reason: "refused", refusal: "not-joint" });
    const out = core.drain();
    expect(out[0]?.entries).toMatchObject([{ index: last + 1, type: EntryType.Normal, confChange: null }]);
    expect(out[0]?.entries[0]?.data.length).toBe(0);
  });

  test("16: refused changes do not use up the room for proposals", () => {
    const core = new TestCore({ config: { maxUncommittedSize: 100 } });
    core.lead();
    core.acknowledge(2n);
    const context = new Uint8Array(40);
    for (let i = 0; i < 20; i++) {
      const result = core.raw.proposeConfChange(changeOf([], ConfChangeTransition.Auto, context));
      expect(result).toMatchObject({ reason: "refused" });
    }
    expect(core.raw.propose([new Uint8Array(60)]).ok).toBe(true);
  });

  test("19: a lagging learner is promoted while the leader changes, and everybody ends with the same configuration", () => {
    const voters = [1n, 2n, 3n];
    const cores = [1n, 2n, 3n, 4n].map(
      (id) => new TestCore({ id, voters, learners: [4n], seed: Number(id) }),
    );
    const [first, second] = cores;
    first?.raw.campaign();
    const toLearner = (m: Message): boolean => m.to === 4n;
    settle(cores, 1, toLearner);
    first?.raw.propose([Buffer.from("a"), Buffer.from("b"), Buffer.from("c")]);
    first?.raw.proposeConfChange(changeOf([add(4n)]));
    // The change reaches member 2 alone before the leader is cut off.
    exchange(cores, (m) => m.to === 4n || m.to === 3n || m.type === AppendResponse);
    second?.raw.campaign();
    settle(cores, 2, (m) => m.to === 1n || m.to === 4n);
    expect(second?.raw.role).toBe(Role.Leader);
    settle(cores, 4);
    for (const core of cores)
      expect(core.confState).toEqual({ ...EMPTY_CONF_STATE, voters: [1n, 2n, 3n, 4n] });
    expect(new Set(cores.map((core) => core.raw.committed)).size).toBe(1);
  });

  test("19: a member that was added after the newest snapshot was taken is brought up by it", () => {
    const cores = [1n, 2n].map((id) => new TestCore({ id, voters: [1n, 2n], seed: Number(id) }));
    const joiner = new TestCore({ id: 3n, voters: [] });
    cores[0]?.raw.campaign();
    settle(cores);
    cores[0]?.propose("before");
    settle(cores);
    cores[0]?.compact();
    cores[0]?.raw.proposeConfChange(changeOf([add(3n)]));
    settle([...cores, joiner], 1);
    cores[0]?.raw.reportSnapshot(3n, true);
    settle([...cores, joiner], 3);
    expect(joiner.confState.voters).toEqual([1n, 2n, 3n]);
    expect(joiner.raw.committed).toBe(cores[0]?.raw.committed);
  });

  test.each([
    ["removed", remove(3n)],
    ["demoted", demote(3n)],
  ])("20: a transfer ends when its target is %s", (_, change) => {
    const core = new TestCore();
    core.lead();
    core.acknowledge(2n);
    core.raw.proposeConfChange(changeOf([change]));
    core.drain();
    core.raw.transferLeader(3n);
    core.drain();
    expect(core.raw.propose([Buffer.from("x")])).toEqual({ ok: false, reason: "transferring" });
    core.acknowledge(2n);
    expect(core.raw.status().leaderTransferee).toBe(NO_NODE);
    expect(core.raw.propose([Buffer.from("x")]).ok).toBe(true);
  });
});

describe("a commit index sent with a vote", () => {
  test("comes with a granted vote too: the last voter does not need a removed member that is gone", () => {
    const enter = {
      ...changeOf([remove(1n), remove(2n), add(3n)]),
      transition: ConfChangeTransition.JointExplicit,
    };
    const entries = [changeEntry(1, 2, enter), changeEntry(1, 3, changeOf([]))];
    const [removed, last] = [1n, 3n].map((id) => {
      const core = new TestCore({ id, voters: [1n, 2n], learners: [3n], log: [1] });
      const hardState = { term: 1, vote: 1n, commit: id === 1n ? 3 : 2 };
      core.disk.write({ hardState, snapshot: null, entries, mustSync: true });
      core.restart();
      core.drain();
      return core;
    });
    if (removed === undefined || last === undefined) throw new Error("two cores");
    expect(last.confState).toMatchObject({ voters: [3n], votersOutgoing: [1n, 2n] });
    settle([removed, last], 6 * ELECTION_TICKS);
    expect(last.raw.role).toBe(Role.Leader);
    expect(last.confState).toMatchObject({ voters: [3n], votersOutgoing: [] });
  });

  test("is taken only for the same entry", () => {
    const core = new TestCore({ log: [1, 1, 2], hardState: { term: 3 } });
    const ask = (commit: number, context: bigint): number => {
      core.step(message(Vote, 3, { index: 1, logTerm: 1, commit, context }));
      return core.raw.committed;
    };
    expect(ask(3, 1n)).toBe(0);
    expect(ask(4, 2n)).toBe(0);
    expect(ask(3, 2n + 2n ** 63n)).toBe(0);
    expect(ask(3, 2n)).toBe(3);
  });
});
