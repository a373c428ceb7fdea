/** The log over a stable and an unstable part: matching, conflicts, commits, and what is handed out to be applied. */
import { RaftLog } from "../../src/raft/log";
import { entrySize } from "../../src/raft/index";
import type { LogGap, Entry } from "../../src/raft/index";
import { entries, entry, snapshotAt, storageOf } from "./support/build";

const VOTERS = [1n, 2n, 3n];

/** Terms 1 2 3 at 1 2 3: the first two on disk. */
function threeTerms(maxBytes = Infinity): RaftLog {
  const log = new RaftLog(storageOf(VOTERS, 0, entries(1, 1, 2)), maxBytes);
  log.append([entry(3, 3)]);
  return log;
}

function show(list: readonly Entry[] | LogGap): string {
  return typeof list === "string" ? list : list.map((e) => `${e.term}/${e.index}`).join(" ");
}

describe("terms", () => {
  test("across both parts, and the entry before the first", () => {
    const log = new RaftLog(storageOf(VOTERS, 10, entries(11, 1, 2)), Infinity);
    log.append([entry(13, 3)]);
    expect([9, 10, 11, 12, 13, 14].map((i) => log.term(i))).toEqual(["compacted", 1, 1, 2, 3, "unavailable"]);
    expect(log.firstIndex()).toBe(11);
    expect(log.lastIndex()).toBe(13);
    expect(log.lastTerm()).toBe(3);
    expect(log.stableIndex()).toBe(12);
  });

  test.each([
    [4, 1, true],
    [3, 3, true],
    [3, 4, true],
    [3, 2, false],
    [2, 9, false],
  ])("a log that ends with %i/%i is up to date: %s", (term, index, expected) => {
    expect(threeTerms().isUpToDate(term, index)).toBe(expected);
  });
});

describe("appending what a leader sent", () => {
  test.each([
    ["another term before it", 3, 2, [4], 0, -1, "1/1 2/2 3/3"],
    ["a gap before it", 4, 4, [4], 0, -1, "1/1 2/2 3/3"],
    ["nothing, at the end", 3, 3, [], 0, 3, "1/1 2/2 3/3"],
    ["nothing, in the middle: the rest stays", 1, 1, [], 0, 1, "1/1 2/2 3/3"],
    ["what is there already: the rest stays", 0, 0, [1, 2], 0, 2, "1/1 2/2 3/3"],
    ["new entries at the end", 3, 3, [4], 0, 4, "1/1 2/2 3/3 4/4"],
    ["known and new ones", 1, 1, [2, 3, 4], 0, 4, "1/1 2/2 3/3 4/4"],
    ["a conflict in the stable part", 1, 1, [4, 4], 0, 3, "1/1 4/2 4/3"],
    ["a conflict that makes the log shorter", 0, 0, [4], 0, 1, "4/1"],
  ])("%s", (_what, prevIndex, prevTerm, terms, commit, expected, left) => {
    const log = threeTerms();
    expect(log.tryAppend(prevIndex, prevTerm, entries(prevIndex + 1, ...terms), commit)).toBe(expected);
    expect(show(log.slice(1, log.lastIndex() + 1, Infinity))).toBe(left);
  });

  test.each([
    [2, [3], 9, 3],
    [2, [3], 2, 2],
    [1, [], 9, 1],
  ])(
    "after %i, %j with the leader's commit %i commits %i: no further than what matches",
    (prev, terms, commit, expected) => {
      const log = threeTerms();
      log.tryAppend(prev, prev, entries(prev + 1, ...terms), commit);
      expect(log.committed).toBe(expected);
    },
  );

  test("the commit index never falls", () => {
    const log = threeTerms();
    log.commitTo(2);
    log.commitTo(1);
    expect(log.committed).toBe(2);
  });

  test("committed entries are never replaced", () => {
    const log = threeTerms();
    log.commitTo(2);
    expect(() => log.append([entry(2, 9)])).toThrow("committed entries would be replaced");
    expect(() => log.commitTo(4)).toThrow("commit beyond the end of the log");
  });

  test("a leader commits only entries of its own term", () => {
    const log = threeTerms();
    expect(log.maybeCommit(2, 3)).toBe(false);
    expect(log.maybeCommit(3, 3)).toBe(true);
    expect(log.maybeCommit(3, 3)).toBe(false);
    expect(log.maybeCommit(4, 3)).toBe(false);
    expect(log.committed).toBe(3);
  });
});

describe("where logs may agree", () => {
  const log = new RaftLog(storageOf(VOTERS, 3, entries(4, 2, 2, 4, 4, 7)), Infinity);
  test.each([
    [8, 9, 8, 7],
    [8, 5, 7, 4],
    [8, 3, 5, 2],
    [5, 1, 3, 1],
    [6, 2, 5, 2],
    [2, 5, 2, 0],
    [0, 5, 0, 0],
  ])("from %i with term %i: %i of term %i", (index, term, at, known) => {
    expect(log.findConflictByTerm(index, term)).toEqual({ index: at, term: known });
  });
});

describe("slices", () => {
  const size = entrySize(entry(1, 1));

  function mixed(): RaftLog {
    const log = new RaftLog(storageOf(VOTERS, 10, entries(11, 1, 1, 1)), Infinity);
    log.append(entries(14, 2, 2));
    return log;
  }

  test.each([
    ["compacted", 10, 12, Infinity, "compacted"],
    ["empty", 12, 12, Infinity, ""],
    ["stable", 11, 13, Infinity, "1/11 1/12"],
    ["unstable", 14, 16, Infinity, "2/14 2/15"],
    ["both", 12, 16, Infinity, "1/12 1/13 2/14 2/15"],
    ["at least one entry", 12, 16, 0, "1/12"],
    ["at least one, of the unstable part", 14, 16, 0, "2/14"],
    ["limited in the stable part", 11, 16, 2 * size, "1/11 1/12"],
    ["limited at the border", 12, 16, 2 * size, "1/12 1/13"],
    ["limited just after the border", 12, 16, 3 * size - 1, "1/12 1/13"],
    ["limited in the unstable part", 12, 16, 3 * size, "1/12 1/13 2/14"],
  ])("%s", (_what, lo, hi, maxBytes, expected) => {
    expect(show(mixed().slice(lo, hi, maxBytes))).toBe(expected);
  });

  test("to the end", () => {
    expect(show(mixed().entriesFrom(14, Infinity))).toBe("2/14 2/15");
    expect(show(mixed().entriesFrom(16, Infinity))).toBe("");
    expect(show(mixed().entriesFrom(9, Infinity))).toBe("compacted");
  });

  test("beyond the end is a defect", () => {
    expect(() => mixed().slice(11, 17, Infinity)).toThrow("slice beyond the end of the log");
  });
});

describe("handing out to be applied", () => {
  test("what is committed, once, with or without the unstable part", () => {
    const log = threeTerms();
    log.commitTo(3);
    expect(show(log.nextCommittedEntries(false))).toBe("1/1 2/2");
    const all = log.nextCommittedEntries(true);
    expect(show(all)).toBe("1/1 2/2 3/3");
    log.acceptApplying(all, true);
    expect(log.applying).toBe(3);
    expect(log.hasNextCommittedEntries(true)).toBe(false);
    expect(show(log.nextCommittedEntries(true))).toBe("");
  });

  test("more than fits waits for an acknowledgement", () => {
    const size = entrySize(entry(1, 1));
    const log = threeTerms(2 * size);
    log.commitTo(3);
    const first = log.nextCommittedEntries(true);
    expect(show(first)).toBe("1/1 2/2");
    log.acceptApplying(first, true);
    expect(log.hasNextCommittedEntries(true)).toBe(false);
    log.appliedTo(2, 2 * size);
    expect(log.applied).toBe(2);
    expect(show(log.nextCommittedEntries(true))).toBe("3/3");
  });

  test("a part that is acknowledged makes as much room", () => {
    const size = entrySize(entry(1, 1));
    const log = threeTerms(2 * size);
    log.commitTo(2);
    log.acceptApplying(log.nextCommittedEntries(true), true);
    log.commitTo(3);
    log.appliedTo(1, size);
    expect(show(log.nextCommittedEntries(true))).toBe("3/3");
  });

  test("nothing while a snapshot is on its way to the disk", () => {
    const log = threeTerms();
    log.commitTo(3);
    log.restore(snapshotAt(9, 4));
    expect(log.committed).toBe(9);
    expect(log.hasNextCommittedEntries(true)).toBe(false);
    log.append([entry(10, 4)]);
    log.commitTo(10);
    expect(log.hasNextCommittedEntries(true)).toBe(false);
    log.stableSnapshotTo(9);
    log.appliedTo(9, 0);
    expect(show(log.nextCommittedEntries(true))).toBe("4/10");
  });

  test("an old acknowledgement does not take the applied index back", () => {
    const log = threeTerms();
    log.commitTo(3);
    log.appliedTo(3, 0);
    log.appliedTo(1, 0);
    expect(log.applied).toBe(3);
    expect(() => log.appliedTo(4, 0)).toThrow("applied beyond the commit index");
  });

  test("a snapshot behind the commit index is a defect: the caller sorts it out", () => {
    const log = threeTerms();
    log.commitTo(2);
    expect(() => log.restore(snapshotAt(2, 2))).toThrow("a snapshot behind the commit index");
  });
});
