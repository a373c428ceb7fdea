/**
 * The core through RawNode: restart, limits over time, what is returned to callers, and what peers may send.
 */
import {
  ConfChangeTransition,
  ConfChangeType,
  ConfigError,
  EntryType,
  entriesSize,
  InvariantError,
  LOCAL_APPLY_THREAD,
  MessageType,
  NO_NODE,
  ProgressState,
  ReadOnlyOption,
  Role,
} from "../../src/raft/index";
import type { Message, MessageDraft, RaftConfig } from "../../src/raft/index";
import {
  change,
  elect,
  entries,
  entry,
  message,
  nodeOn,
  settle,
  snapshotAt,
  storageOf,
} from "./support/build";

const THREE = [1n, 2n, 3n];

describe("configuration", () => {
  test.each<[keyof RaftConfig, Partial<RaftConfig>]>([
    ["id", { id: NO_NODE }],
    ["id", { id: LOCAL_APPLY_THREAD }],
    ["electionTicks", { electionTicks: 1, heartbeatTicks: 1 }],
    ["electionTicks", { electionTicks: 2.5 }],
    ["heartbeatTicks", { heartbeatTicks: 0 }],
    ["applied", { applied: -1 }],
    ["maxInflightMessages", { maxInflightMessages: 0 }],
    ["maxSizePerMessage", { maxSizePerMessage: NaN }],
    ["maxCommittedSizePerReady", { maxCommittedSizePerReady: 0 }],
    ["maxInflightBytes", { maxInflightBytes: 10, maxSizePerMessage: 20 }],
    ["readOnly", { readOnly: ReadOnlyOption.LeaseBased }],
  ])("a bad %s is refused by name", (option, config) => {
    const build = (): unknown => nodeOn(storageOf(THREE), config);
    expect(build).toThrow(ConfigError);
    expect(build).toThrow(option);
  });
});

describe("restart", () => {
  test("term, vote, commit and log come back; committed entries are handed out again", () => {
    const storage = storageOf(THREE, 0, entries(1, 1, 1, 2));
    storage.hardState = { term: 2, vote: 3n, commit: 2 };
    const node = nodeOn(storage);
    expect(node.status().hardState).toEqual({ term: 2, vote: 3n, commit: 2 });
    expect(node.role).toBe(Role.Follower);
    const ready = node.ready();
    expect(ready.hardState).toBeNull();
    expect(ready.mustSync).toBe(false);
    expect(ready.entries).toEqual([]);
    expect(ready.committedEntries.map((e) => e.index)).toEqual([1, 2]);
    node.advance();
    expect(node.applied).toBe(2);
    expect(node.hasReady()).toBe(false);
  });

  test("from a snapshot: its configuration, and only what comes after it", () => {
    const storage = storageOf([1n, 2n], 5, entries(6, 1, 2));
    storage.hardState = { term: 2, vote: NO_NODE, commit: 6 };
    const node = nodeOn(storage);
    expect(node.status().confState.voters).toEqual([1n, 2n]);
    expect(node.applied).toBe(5);
    expect(node.ready().committedEntries.map((e) => e.index)).toEqual([6]);
  });

  test("with `applied`: no entry up to it again", () => {
    const storage = storageOf(THREE, 0, entries(1, 1, 1, 1));
    storage.hardState = { term: 1, vote: NO_NODE, commit: 3 };
    const node = nodeOn(storage, { applied: 2 });
    expect(node.ready().committedEntries.map((e) => e.index)).toEqual([3]);
  });

  test("the commit index lost in the crash is made up from snapshot and `applied`", () => {
    const storage = storageOf(THREE, 5, entries(6, 1, 1));
    storage.hardState = { term: 1, vote: NO_NODE, commit: 2 };
    expect(nodeOn(storage).committed).toBe(5);
    expect(nodeOn(storage, { applied: 7 }).committed).toBe(7);
  });

  test("a commit index beyond the log is damage", () => {
    const storage = storageOf(THREE, 0, entries(1, 1));
    storage.hardState = { term: 1, vote: NO_NODE, commit: 2 };
    expect(() => nodeOn(storage)).toThrow(InvariantError);
  });

  test("committed entries are handed out in pages, each once, in order", () => {
    const log = Array.from({ length: 100 }, (_, i) => entry(i + 1, 1, 50));
    const storage = storageOf(THREE, 0, log);
    storage.hardState = { term: 1, vote: NO_NODE, commit: 100 };
    const limit = entriesSize(log.slice(0, 7));
    const node = nodeOn(storage, { maxCommittedSizePerReady: limit });
    const seen: number[] = [];
    while (node.hasReady()) {
      const { committedEntries } = node.ready();
      expect(committedEntries.length).toBeGreaterThan(0);
      expect(entriesSize(committedEntries)).toBeLessThanOrEqual(limit);
      seen.push(...committedEntries.map((e) => e.index));
      node.advance();
    }
    expect(seen).toEqual(log.map((e) => e.index));
  });

  test("a vote given before the restart is not given to another", () => {
    const storage = storageOf(THREE, 0, entries(1, 1));
    storage.hardState = { term: 5, vote: 3n, commit: 0 };
    const node = nodeOn(storage);
    node.step(message(MessageType.Vote, 2n, 5, { index: 1, logTerm: 1 }));
    node.step(message(MessageType.Vote, 3n, 5, { index: 1, logTerm: 1 }));
    const answers = settle(node, storage).map((m) => [m.to, m.reject]);
    expect(answers).toEqual([
      [2n, true],
      [3n, false],
    ]);
  });

  test("a voter with an unapplied configuration change does not campaign until it is applied", () => {
    const added = change({ changes: [{ type: ConfChangeType.AddVoter, nodeId: 4n }] });
    const log = [entry(1, 1), { ...entry(2, 1), type: EntryType.ConfChangeV2, confChange: added }];
    const storage = storageOf(THREE, 0, log);
    storage.hardState = { term: 1, vote: NO_NODE, commit: 2 };
    const node = nodeOn(storage);
    node.campaign();
    expect(node.role).toBe(Role.Follower);
    settle(node, storage);
    node.campaign();
    expect(node.role).toBe(Role.Candidate);
  });
});

describe("growth under a partition", () => {
  test("proposals end at the limit, and messages at the window", () => {
    const storage = storageOf(THREE);
    const node = nodeOn(storage, { maxUncommittedSize: 1000, maxInflightMessages: 4 });
    elect(node, storage, [2n]);
    node.step(message(MessageType.AppendResponse, 2n, 1, { index: 1 }));
    settle(node, storage);
    const sent: Message[] = [];
    let accepted = 0;
    for (let i = 0; i < 100; i++) {
      if (node.propose([new Uint8Array(100)]).ok) accepted++;
      sent.push(...settle(node, storage));
    }
    expect(accepted).toBe(10);
    expect(node.propose([new Uint8Array(1)])).toEqual({ ok: false, reason: "uncommitted-size" });
    expect(node.lastIndex).toBe(11);
    const entriesTo2 = sent.filter((m) => m.to === 2n && m.entries.length > 0);
    expect(entriesTo2.length).toBe(4);
    for (let i = 0; i < 50; i++) node.tick();
    expect(settle(node, storage).every((m) => m.type === MessageType.Heartbeat)).toBe(true);
  });

  test("reads end at a limit", () => {
    const storage = storageOf(THREE);
    const node = nodeOn(storage);
    elect(node, storage, [2n]);
    let context = 0n;
    while (node.readIndex(++context).ok);
    expect(context).toBe(65_537n);
  });
});

describe("results of proposals", () => {
  test("index and term of the first of several entries, sent in one message", () => {
    const storage = storageOf(THREE);
    const node = nodeOn(storage);
    elect(node, storage, [2n]);
    node.step(message(MessageType.AppendResponse, 2n, 1, { index: 1 }));
    settle(node, storage);
    const data = [1, 2, 3].map((byte) => Uint8Array.of(byte));
    expect(node.propose(data)).toEqual({ ok: true, index: 2, term: 1 });
    const [append, ...others] = settle(node, storage).filter((m) => m.to === 2n);
    expect(others).toEqual([]);
    expect(append?.entries.map((e) => [e.index, e.data[0]])).toEqual([
      [2, 1],
      [3, 2],
      [4, 3],
    ]);
    expect(() => node.propose([])).toThrow(InvariantError);
  });

  test("no leader, a leader elsewhere, a removed leader", () => {
    const storage = storageOf(THREE);
    const node = nodeOn(storage, { disableProposalForwarding: true });
    expect(node.propose([new Uint8Array(1)])).toEqual({ ok: false, reason: "no-leader" });
    expect(node.readIndex(1n)).toEqual({ ok: false });
    node.step(message(MessageType.Heartbeat, 2n, 1));
    expect(node.propose([new Uint8Array(1)])).toEqual({ ok: false, reason: "not-leader" });
    elect(node, storage, [2n]);
    const removal = change({ changes: [{ type: ConfChangeType.Remove, nodeId: 1n }] });
    expect(node.proposeConfChange(removal).ok).toBe(true);
    settle(node, storage);
    node.step(message(MessageType.AppendResponse, 2n, node.term, { index: node.lastIndex }));
    settle(node, storage);
    expect(node.role).toBe(Role.Leader);
    expect(node.propose([new Uint8Array(1)])).toEqual({ ok: false, reason: "removed" });
  });

  test("a refused configuration change leaves no trace in the size limit", () => {
    const storage = storageOf([1n]);
    const node = nodeOn(storage, { maxUncommittedSize: 100 });
    elect(node, storage, []);
    const last = change({
      changes: [{ type: ConfChangeType.Remove, nodeId: 1n }],
      context: new Uint8Array(90),
    });
    for (let i = 0; i < 5; i++) {
      expect(node.proposeConfChange(last)).toEqual({
        ok: false,
        reason: "refused",
        refusal: "invalid",
        detail: "removed all voters",
      });
      settle(node, storage);
    }
    expect(node.raft.uncommittedBytes).toBe(0);
    expect(node.lastIndex).toBe(6);
  });

  test("a dropped configuration change does not count as pending", () => {
    const storage = storageOf(THREE);
    const node = nodeOn(storage, { maxUncommittedSize: 10 });
    elect(node, storage, [2n]);
    settle(node, storage);
    expect(node.propose([new Uint8Array(8)]).ok).toBe(true);
    const added = change({ changes: [{ type: ConfChangeType.AddVoter, nodeId: 4n }] });
    expect(node.proposeConfChange(added)).toEqual({ ok: false, reason: "uncommitted-size" });
    expect(node.status().pendingConfIndex).toBe(0);
  });
});

describe("configuration changes at apply", () => {
  test("one that does not fit changes nothing and does not throw", () => {
    const node = nodeOn(storageOf([1n]));
    const before = node.status().confState;
    const last = change({ changes: [{ type: ConfChangeType.Remove, nodeId: 1n }] });
    expect(node.applyConfChange(last)).toEqual(before);
    expect(node.applyConfChange(change({}))).toEqual(before);
  });

  test("one that a snapshot has overtaken changes nothing", () => {
    const storage = storageOf(THREE);
    const node = nodeOn(storage);
    node.step(message(MessageType.Snapshot, 2n, 3, { snapshot: snapshotAt(20, 3, [1n, 2n, 5n]) }));
    const old = change({ changes: [{ type: ConfChangeType.Remove, nodeId: 2n }] });
    expect(node.applyConfChange(old).voters).toEqual([1n, 2n, 5n]);
    settle(node, storage);
    expect(node.applied).toBe(20);
    expect(node.applyConfChange(old, 19).voters).toEqual([1n, 2n, 5n]);
    expect(node.applyConfChange(old, 21).voters).toEqual([1n, 5n]);
  });

  test("a transfer that fails while joint does not keep the leader from leaving", () => {
    const storage = storageOf([1n, 2n]);
    const node = nodeOn(storage);
    elect(node, storage, [2n]);
    const ack = (): void => {
      node.step(message(MessageType.AppendResponse, 2n, node.term, { index: node.lastIndex }));
      settle(node, storage);
    };
    ack();
    const joint = change({
      transition: ConfChangeTransition.JointImplicit,
      changes: [{ type: ConfChangeType.AddLearner, nodeId: 3n }],
    });
    expect(node.proposeConfChange(joint).ok).toBe(true);
    settle(node, storage);
    node.transferLeader(2n);
    ack();
    expect(node.status().confState.autoLeave).toBe(true);
    const before = node.lastIndex;
    for (let i = 0; i < 10; i++) node.tick();
    expect(node.status().leaderTransferee).toBe(NO_NODE);
    expect(node.lastIndex).toBe(before + 1);
    ack();
    expect(node.status().confState.votersOutgoing).toEqual([]);
  });
});

describe("what peers may send", () => {
  /** A follower at term 5 with a log 1/1..3/3, committed to 2, under leader 2. */
  function follower(): ReturnType<typeof nodeOn> {
    const storage = storageOf(THREE, 0, entries(1, 1, 2, 3));
    storage.hardState = { term: 5, vote: NO_NODE, commit: 2 };
    const node = nodeOn(storage);
    node.step(message(MessageType.Heartbeat, 2n, 5, { commit: 2 }));
    settle(node, storage);
    return node;
  }

  const bad: [string, string, Message][] = [
    ["local-message", "a local type", message(MessageType.Hup, 2n, 5)],
    [
      "local-message",
      "a storage answer",
      message(MessageType.StorageAppendResponse, 2n, 5, { index: 3, logTerm: 3 }),
    ],
    ["local-message", "no type at all", { ...message(MessageType.Append, 2n, 5), type: NaN }],
    ["misaddressed", "for another member", { ...message(MessageType.Append, 2n, 5), to: 3n }],
    ["misaddressed", "from this member", message(MessageType.AppendResponse, 1n, 5)],
    ["misaddressed", "from a thread", message(MessageType.AppendResponse, LOCAL_APPLY_THREAD, 5)],
    [
      "unknown-sender",
      "an answer of a member that is not listed",
      message(MessageType.AppendResponse, 9n, 5),
    ],
    [
      "unknown-sender",
      "a higher term in an answer of a member that is not listed",
      message(MessageType.VoteResponse, 9n, 99),
    ],
    ["invalid-field", "a term below zero", message(MessageType.Append, 2n, -1)],
    ["invalid-field", "a term that is no number", message(MessageType.Append, 2n, NaN)],
    ["invalid-field", "a term with a fraction", message(MessageType.Append, 2n, 5.5)],
    ["invalid-field", "a term at the end of numbers", message(MessageType.Vote, 2n, Number.MAX_SAFE_INTEGER)],
    ["invalid-field", "no term", message(MessageType.Append, 2n, 0)],
    [
      "invalid-field",
      "an index beyond safe numbers",
      message(MessageType.Append, 2n, 5, { index: 2 ** 60, logTerm: 3 }),
    ],
    ["invalid-field", "an index without term", message(MessageType.Append, 2n, 5, { index: 3 })],
    [
      "invalid-field",
      "a log term above the term",
      message(MessageType.Append, 2n, 5, { index: 3, logTerm: 6 }),
    ],
    ["invalid-field", "a gap before the entries", append({ entries: entries(5, 5) })],
    ["invalid-field", "a gap between entries", append({ entries: [entry(4, 5), entry(6, 5)] })],
    ["invalid-field", "entries out of order", append({ entries: [entry(4, 5), entry(4, 5)] })],
    ["invalid-field", "terms that fall", append({ entries: entries(4, 5, 4) })],
    ["invalid-field", "an entry of a later term", append({ entries: entries(4, 6) })],
    ["invalid-field", "an entry of an earlier term than the one before", append({ entries: entries(4, 2) })],
    [
      "invalid-field",
      "a change without content",
      append({ entries: [{ ...entry(4, 5), type: EntryType.ConfChangeV2 }] }),
    ],
    ["invalid-field", "a snapshot without snapshot", message(MessageType.Snapshot, 2n, 5)],
    [
      "invalid-field",
      "a snapshot at zero",
      message(MessageType.Snapshot, 2n, 5, { snapshot: snapshotAt(0, 0) }),
    ],
    [
      "invalid-field",
      "a snapshot of a later term",
      message(MessageType.Snapshot, 2n, 5, { snapshot: snapshotAt(9, 6) }),
    ],
    [
      "invalid-field",
      "a snapshot without voters",
      message(MessageType.Snapshot, 2n, 5, { snapshot: snapshotAt(9, 5, []) }),
    ],
    [
      "invalid-field",
      "a snapshot with a voter twice",
      message(MessageType.Snapshot, 2n, 5, { snapshot: snapshotAt(9, 5, [1n, 1n]) }),
    ],
    ["invalid-field", "a read without context", message(MessageType.ReadIndex, 2n, 0)],
    [
      "invalid-field",
      "a context beyond 64 bits",
      message(MessageType.Heartbeat, 2n, 5, { context: 2n ** 64n }),
    ],
    ["invalid-field", "a proposal without entries", message(MessageType.Propose, 2n, 0)],
    ["commit-beyond-match", "a commit beyond the log", message(MessageType.Heartbeat, 2n, 5, { commit: 4 })],
    ["conflicting-leader", "a second leader", message(MessageType.Append, 3n, 5, { index: 3, logTerm: 3 })],
    ["stale-term", "an old term", message(MessageType.Append, 2n, 4, { index: 3, logTerm: 3 })],
    ["not-leader", "a read at a follower", message(MessageType.ReadIndex, 3n, 0, { context: 7n })],
    ["not-leader", "a transfer at a follower", message(MessageType.TransferLeader, 3n, 5)],
  ];

  function append(part: Partial<MessageDraft>): Message {
    return message(MessageType.Append, 2n, 5, { index: 3, logTerm: 3, ...part });
  }

  test.each(bad)("%s: %s", (reason, _what, m) => {
    const node = follower();
    const before = node.status();
    expect(node.step(m)).toEqual({ ok: false, reason });
    expect([...node.refusedMessages]).toEqual([[reason, 1]]);
    expect(node.status()).toEqual(before);
    expect(node.hasReady()).toBe(false);
  });

  test("a heartbeat in a new term commits nothing that its leader has not shown to match", () => {
    const node = follower();
    expect(node.step(message(MessageType.Heartbeat, 3n, 6, { commit: 3 }))).toEqual({
      ok: false,
      reason: "commit-beyond-match",
    });
    expect(node.committed).toBe(2);
    node.step(message(MessageType.Append, 3n, 6, { index: 3, logTerm: 3 }));
    expect(node.step(message(MessageType.Heartbeat, 3n, 6, { commit: 3 }))).toEqual({ ok: true });
    expect(node.committed).toBe(3);
  });

  test("a leader believes no acknowledgement of entries that it does not have", () => {
    const storage = storageOf(THREE);
    const node = nodeOn(storage);
    elect(node, storage, [2n]);
    for (const part of [{ index: 2 }, { index: 2, reject: true }]) {
      const result = node.step(message(MessageType.AppendResponse, 2n, 1, part));
      expect(result).toEqual({ ok: false, reason: "beyond-log" });
    }
    const round = node.step(message(MessageType.HeartbeatResponse, 2n, 1, { context: 5n }));
    expect(round).toEqual({ ok: false, reason: "invalid-field" });
    const rival = node.step(message(MessageType.Heartbeat, 2n, 1));
    expect(rival).toEqual({ ok: false, reason: "conflicting-leader" });
    expect(node.committed).toBe(0);
    expect(node.role).toBe(Role.Leader);
  });

  test("a term at the limit is followed, and no election takes it further", () => {
    const node = follower();
    const term = Number.MAX_SAFE_INTEGER - 2 ** 40;
    expect(node.step(message(MessageType.Heartbeat, 2n, term, { commit: 2 }))).toEqual({ ok: true });
    expect(node.term).toBe(term);
    for (let i = 0; i < 100; i++) node.tick();
    node.campaign();
    expect(node.term).toBe(term);
    expect(node.role).toBe(Role.Follower);
  });

  test("a grant for an earlier pre-vote does not count for this one", () => {
    const storage = storageOf(THREE);
    const node = nodeOn(storage, { preVote: true });
    node.campaign();
    settle(node, storage);
    node.step(message(MessageType.PreVoteResponse, 2n, 5));
    expect(node.role).toBe(Role.PreCandidate);
    node.step(message(MessageType.PreVoteResponse, 2n, 1));
    expect(node.role).toBe(Role.Candidate);
  });
});

describe("reports about a peer", () => {
  function leader(): ReturnType<typeof nodeOn> {
    const storage = storageOf(THREE);
    const node = nodeOn(storage);
    elect(node, storage, [2n]);
    node.step(message(MessageType.AppendResponse, 2n, 1, { index: 1 }));
    settle(node, storage);
    return node;
  }

  test("unreachable: it is probed; strangers and followers are ignored", () => {
    const node = leader();
    expect(node.status().progress.get(2n)?.state).toBe(ProgressState.Replicate);
    node.reportUnreachable(2n);
    expect(node.status().progress.get(2n)?.state).toBe(ProgressState.Probe);
    node.reportUnreachable(9n);
    node.reportSnapshot(9n, true);
    nodeOn(storageOf(THREE)).reportUnreachable(2n);
  });

  test.each([
    [true, 11],
    [false, 1],
  ])("a snapshot delivered: %s, goes on from %i", (delivered, next) => {
    const storage = storageOf(THREE, 10);
    const node = nodeOn(storage);
    elect(node, storage, [2n]);
    node.step(message(MessageType.AppendResponse, 3n, 1, { index: 10, reject: true }));
    expect(node.status().progress.get(3n)?.state).toBe(ProgressState.Snapshot);
    node.reportSnapshot(3n, delivered);
    expect(node.status().progress.get(3n)).toMatchObject({ state: ProgressState.Probe, next });
  });
});

describe("asynchronous writes", () => {
  test("nothing that speaks of the disk leaves before it is written, and nothing unwritten is applied", () => {
    const storage = storageOf([1n]);
    const node = nodeOn(storage, { asyncStorageWrites: true });
    node.campaign();
    const [vote] = node.ready().messages;
    expect(vote?.type).toBe(MessageType.StorageAppend);
    expect(node.role).toBe(Role.Candidate);
    for (const m of vote?.responses ?? []) node.stepLocal(m);
    expect(node.role).toBe(Role.Leader);
    const first = node.ready();
    expect(first.committedEntries).toEqual([]);
    expect(node.committed).toBe(0);
    expect(node.hasReady()).toBe(false);
    storage.append(first.entries);
    for (const m of first.messages[0]?.responses ?? []) node.stepLocal(m);
    const second = node.ready();
    expect(second.committedEntries.map((e) => e.index)).toEqual([1]);
    expect(second.messages.map((m) => m.type)).toEqual([MessageType.StorageAppend, MessageType.StorageApply]);
    expect(node.applied).toBe(0);
    for (const m of second.messages.flatMap((s) => s.responses)) node.stepLocal(m);
    expect(node.applied).toBe(1);
    expect(() => {
      node.advance();
    }).toThrow(InvariantError);
  });

  test("a second ready() without advance() is a defect", () => {
    const node = nodeOn(storageOf([1n]));
    node.campaign();
    node.ready();
    expect(() => node.ready()).toThrow(InvariantError);
  });
});
