/** The unstable tail: what is handed out, what is acknowledged, what is replaced meanwhile. */
import { UnstableLog } from "../../src/raft/log_unstable";
import { entries, snapshotAt } from "./support/build";

function indexes(list: readonly { index: number; term: number }[]): string[] {
  return list.map((e) => `${e.term}/${e.index}`);
}

function tail(first: number, ...terms: number[]): UnstableLog {
  const log = new UnstableLog(first);
  log.truncateAndAppend(entries(first, ...terms));
  return log;
}

describe("reading", () => {
  test("an empty tail knows nothing", () => {
    const log = new UnstableLog(5);
    expect(log.lastIndex()).toBe(0);
    expect(log.term(4)).toBe(-1);
    expect(log.term(5)).toBe(-1);
    expect(log.hasNextEntries()).toBe(false);
  });

  test("entries and a snapshot before them", () => {
    const log = new UnstableLog(1);
    log.restore(snapshotAt(4, 2));
    expect(log.lastIndex()).toBe(4);
    expect(log.term(4)).toBe(2);
    log.truncateAndAppend(entries(5, 2, 3));
    expect(log.lastIndex()).toBe(6);
    expect([4, 5, 6, 7].map((i) => log.term(i))).toEqual([2, 2, 3, -1]);
    expect(indexes(log.slice(5, 6))).toEqual(["2/5"]);
  });

  test("a slice outside is a defect", () => {
    const log = tail(5, 1, 1);
    expect(() => log.slice(4, 6)).toThrow("slice out of the unstable log");
    expect(() => log.slice(5, 8)).toThrow("slice out of the unstable log");
  });
});

describe("handing out", () => {
  test("each entry once", () => {
    const log = tail(5, 1, 1);
    expect(indexes(log.nextEntries())).toEqual(["1/5", "1/6"]);
    log.accept();
    expect(log.hasNextEntries()).toBe(false);
    log.truncateAndAppend(entries(7, 2));
    expect(indexes(log.nextEntries())).toEqual(["2/7"]);
  });

  test("what was handed out stays as it was when the tail changes", () => {
    const log = tail(5, 1, 1);
    const handedOut = log.nextEntries();
    log.accept();
    log.truncateAndAppend(entries(6, 2));
    expect(indexes(handedOut)).toEqual(["1/5", "1/6"]);
  });

  test("the snapshot once", () => {
    const log = new UnstableLog(1);
    log.restore(snapshotAt(4, 1));
    expect(log.nextSnapshot()?.meta.index).toBe(4);
    log.accept();
    expect(log.nextSnapshot()).toBeNull();
    expect(log.snapshot?.meta.index).toBe(4);
  });
});

describe("acknowledging", () => {
  test.each([
    ["part", 5, 1, 6, ["1/6", "2/7"]],
    ["all", 7, 2, 8, []],
    ["another term: those entries are gone", 6, 9, 5, ["1/5", "1/6", "2/7"]],
    ["before the tail", 4, 1, 5, ["1/5", "1/6", "2/7"]],
    ["after the tail", 8, 2, 5, ["1/5", "1/6", "2/7"]],
  ])("%s", (_what, index, term, offset, left) => {
    const log = tail(5, 1, 1, 2);
    log.accept();
    log.stableTo(index, term);
    expect(log.offset).toBe(offset);
    expect(indexes(log.slice(log.offset, log.offset + log.length))).toEqual(left);
    expect(log.hasNextEntries()).toBe(false);
  });

  test("entries not handed out can be acknowledged by a write that was under way with the same ones", () => {
    const log = tail(5, 1, 1);
    log.stableTo(5, 1);
    expect(indexes(log.nextEntries())).toEqual(["1/6"]);
  });

  test("a snapshot, by its own index only", () => {
    const log = new UnstableLog(1);
    log.restore(snapshotAt(4, 1));
    log.stableSnapshotTo(3);
    expect(log.snapshot).not.toBeNull();
    log.stableSnapshotTo(4);
    expect(log.snapshot).toBeNull();
    log.stableSnapshotTo(4);
  });

  test("an answer for entries does not acknowledge a snapshot at the same place", () => {
    const log = new UnstableLog(1);
    log.restore(snapshotAt(4, 1));
    log.stableTo(4, 1);
    expect(log.snapshot?.meta.index).toBe(4);
    expect(log.offset).toBe(5);
  });
});

describe("replacing", () => {
  test.each([
    ["at the end", 7, [2], 5, ["1/5", "1/6", "2/7"], ["2/7"]],
    [
      "in the middle, what was handed out before stays handed out",
      6,
      [2, 2],
      5,
      ["1/5", "2/6", "2/7"],
      ["2/6", "2/7"],
    ],
    ["at the start", 5, [2], 5, ["2/5"], ["2/5"]],
    ["before the start: stable entries are replaced as well", 4, [2, 2], 4, ["2/4", "2/5"], ["2/4", "2/5"]],
  ])("%s", (_what, first, terms, offset, left, next) => {
    const log = tail(5, 1, 1);
    log.accept();
    log.truncateAndAppend(entries(first, ...terms));
    expect(log.offset).toBe(offset);
    expect(indexes(log.slice(log.offset, log.offset + log.length))).toEqual(left);
    expect(indexes(log.nextEntries())).toEqual(next);
  });

  test("by nothing changes nothing", () => {
    const log = tail(5, 1);
    log.truncateAndAppend([]);
    expect(log.length).toBe(1);
  });

  test("a gap is a defect", () => {
    const log = tail(5, 1);
    expect(() => log.truncateAndAppend(entries(7, 1))).toThrow("gap");
  });

  test("a snapshot drops the tail", () => {
    const log = tail(5, 1, 1);
    log.accept();
    log.restore(snapshotAt(9, 3));
    expect(log.length).toBe(0);
    expect(log.offset).toBe(10);
    log.stableTo(6, 1);
    expect(log.offset).toBe(10);
  });
});
