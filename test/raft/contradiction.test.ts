/** Logs that can't both be right: what a leader sends against what this member holds, and acknowledged entries that are gone. */
import { ConfChangeType, EntryType, MessageType, ProgressState } from "../../src/raft/index";
import type { Entry, RawNode } from "../../src/raft/index";
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

/** A follower of 2 in term 3, with entries of the terms 1, 1, 2, 2, 3; the first three are committed. */
function follower(last: readonly Entry[] = entries(1, 1, 1, 2, 2, 3)): RawNode {
  const storage = storageOf(THREE, 0, last);
  storage.hardState = { term: 3, vote: 2n, commit: 3 };
  const node = nodeOn(storage);
  settle(node, storage);
  return node;
}

function append(node: RawNode, index: number, logTerm: number, sent: readonly Entry[], commit = 0) {
  return node.step(message(MessageType.Append, 2n, 3, { index, logTerm, entries: sent, commit }));
}

describe("an Append", () => {
  test.each<[string, number, number, Entry[]]>([
    ["repeats committed entries", 1, 1, entries(2, 1, 2)],
    ["repeats all entries", 0, 0, entries(1, 1, 1, 2, 2, 3)],
    ["replaces entries above the commit index", 3, 2, entries(4, 3, 3)],
    ["overlaps, then continues", 3, 2, entries(4, 2, 3, 3)],
    ["has another term before its entries, above the commit index", 4, 3, entries(5, 3)],
    ["comes after the end of the log", 9, 3, entries(10, 3)],
  ])("that %s is handled as ever", (_what, index, logTerm, sent) => {
    const node = follower();
    expect(append(node, index, logTerm, sent)).toEqual({ ok: true });
    expect(node.contradiction).toBeNull();
    expect(node.ready().messages).toHaveLength(1);
  });

  test.each<[string, number, number, Entry[], object]>([
    ["another term at a committed index before it", 2, 2, [], { index: 2, ownTerm: 1, theirTerm: 2 }],
    ["another term at the commit index", 3, 3, [], { index: 3, ownTerm: 2, theirTerm: 3 }],
    ["another term in a committed entry", 1, 1, entries(2, 2), { index: 2, ownTerm: 1, theirTerm: 2 }],
    ["other bytes in a committed entry", 1, 1, [entry(2, 1, 7)], { index: 2, ownTerm: 1, theirTerm: 1 }],
  ])("with %s is refused without an answer", (_what, index, logTerm, sent, place) => {
    const node = follower();
    expect(append(node, index, logTerm, sent, 5)).toEqual({ ok: false, reason: "contradiction" });
    expect(node.contradiction).toEqual({ from: 2n, committed: true, ...place });
    expect(node.committed).toBe(3);
    expect(node.ready().messages).toEqual([]);
  });

  test("with other bytes above the commit index is of a faulty leader", () => {
    const node = follower();
    expect(append(node, 4, 2, [entry(5, 3, 7)], 5)).toEqual({ ok: false, reason: "contradiction" });
    expect(node.contradiction).toEqual({ from: 2n, index: 5, ownTerm: 3, theirTerm: 3, committed: false });
    expect(node.committed).toBe(3);
  });

  test.each<[string, Partial<Entry>]>([
    ["context", { confChange: change({ context: Uint8Array.of(9) }) }],
    ["step", { confChange: change({ changes: [{ type: ConfChangeType.AddLearner, nodeId: 4n }] }) }],
    ["kind", { type: EntryType.Normal, confChange: null }],
  ])("a membership change with another %s is other content", (_what, part) => {
    const own = { ...entry(2, 1), type: EntryType.ConfChangeV2, confChange: change({}) };
    const node = follower([entry(1, 1), own, entry(3, 2)]);
    expect(append(node, 1, 1, [{ ...own, confChange: change({}) }])).toEqual({ ok: true });
    expect(append(node, 1, 1, [{ ...own, ...part }]).ok).toBe(false);
    expect(node.contradiction?.index).toBe(2);
  });
});

test("a snapshot with another term at a committed index is refused", () => {
  const node = follower();
  const snapshot = (term: number) => message(MessageType.Snapshot, 2n, 3, { snapshot: snapshotAt(2, term) });
  expect(node.step(snapshot(1))).toEqual({ ok: true });
  expect(node.step(snapshot(2))).toEqual({ ok: false, reason: "contradiction" });
  expect(node.contradiction).toEqual({ from: 2n, index: 2, ownTerm: 1, theirTerm: 2, committed: true });
});

describe("entries that were acknowledged and are gone", () => {
  const acknowledged = 5;

  test("a follower says so to a heartbeat that names more than its log has", () => {
    const node = follower();
    const beat = (index: number) => message(MessageType.Heartbeat, 2n, 3, { index, commit: 3 });
    expect(node.step(beat(acknowledged))).toEqual({ ok: true });
    expect(node.ready().messages).toMatchObject([{ type: MessageType.HeartbeatResponse, reject: false }]);
    node.advance();
    expect(node.step(beat(acknowledged + 1))).toEqual({ ok: false, reason: "log-regressed" });
    expect(node.ready().messages).toMatchObject([
      { type: MessageType.HeartbeatResponse, to: 2n, reject: true, index: 6, rejectHint: 5 },
    ]);
  });

  function leader(reportRegress: boolean): RawNode {
    const storage = storageOf(THREE);
    const node = nodeOn(storage, { reportRegress });
    elect(node, storage, [2n]);
    node.step(message(MessageType.AppendResponse, 2n, node.term, { index: 1 }));
    settle(node, storage);
    return node;
  }

  test("a leader's heartbeats name what each follower acknowledged, where the option is on", () => {
    for (const on of [true, false]) {
      const node = leader(on);
      node.tick();
      const beats = node.ready().messages.filter(({ type }) => type === MessageType.Heartbeat);
      expect(beats.map(({ to, index }) => [to, index])).toEqual([
        [2n, on ? 1 : 0],
        [3n, 0],
      ]);
    }
  });

  test("a leader counts neither contact nor a read for a follower that says so, and refuses impossible claims", () => {
    const node = leader(true);
    const answer = (index: number, rejectHint: number, from = 2n) =>
      node.step(
        message(MessageType.HeartbeatResponse, from, node.term, {
          reject: true,
          index,
          rejectHint,
          context: 1n,
        }),
      );
    const reads = node.readIndex(7n);
    node.ready();
    expect(answer(1, 0)).toEqual({ ok: false, reason: "log-regressed" });
    expect(node.hasReady()).toBe(false);
    expect(reads.ok).toBe(true);
    expect(answer(2, 0)).toEqual({ ok: false, reason: "invalid-field" });
    expect(answer(1, 1)).toEqual({ ok: false, reason: "invalid-field" });
    expect(answer(1, 0, 3n)).toEqual({ ok: false, reason: "invalid-field" });
    expect(node.status().progress.get(2n)).toMatchObject({ match: 1, state: ProgressState.Replicate });
  });
});
