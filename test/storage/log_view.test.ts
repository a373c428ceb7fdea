/** The log in memory. */
import { LogView } from "../../src/storage/log_view";
import { StorageInvariantError } from "../../src/storage/errors";
import { entries, entry, snapshot } from "./support/values";

const ALL = Infinity;

test("reads return held entries, and a reason for others", () => {
  const view = new LogView({ index: 10, term: 2 }, entries(11, 15, 3), snapshot(10, 2));
  expect([view.firstIndex(), view.lastIndex()]).toEqual([11, 15]);
  expect([view.term(9), view.term(10), view.term(11), view.term(15), view.term(16)]).toEqual([
    "compacted",
    2,
    3,
    3,
    "unavailable",
  ]);
  expect(view.entries(10, 12, ALL)).toBe("compacted");
  expect(view.entries(12, 17, ALL)).toBe("unavailable");
  expect(view.entries(12, 16, ALL)).toEqual(entries(12, 15, 3));
  expect(view.entries(12, 12, ALL)).toEqual([]);
});

test("a read returns as many entries as fit into the limit, and at least one", () => {
  // 24 bytes of overhead and 76 of data: 100 each.
  const list = [1, 2, 3].map((i) => entry(i, 1, "x".repeat(76)));
  const view = new LogView({ index: 0, term: 0 }, list, null);
  const count = (maxBytes: number): number => view.entries(1, 4, maxBytes).length;
  expect([0, 99, 100, 199, 200, 299, 300].map(count)).toEqual([1, 1, 1, 1, 2, 2, 3]);
});

test("an append overwrites the tail from its first entry on", () => {
  const view = new LogView({ index: 0, term: 0 }, entries(1, 5, 1), null);
  view.append(entries(4, 4, 2));
  expect(view.lastIndex()).toBe(4);
  expect([view.term(3), view.term(4)]).toEqual([1, 2]);
});

test("a returned list does not change when the log changes", () => {
  const view = new LogView({ index: 0, term: 0 }, entries(1, 5, 1), null);
  const held = view.entries(1, 6, ALL);
  view.append(entries(2, 2, 2));
  expect(held).toEqual(entries(1, 5, 1));
});

test("appending with a gap or at a compacted index throws", () => {
  const view = new LogView({ index: 3, term: 1 }, entries(4, 5, 1), snapshot(3, 1));
  for (const list of [entries(7, 7, 1), entries(3, 3, 1), [entry(6, 1), entry(8, 1)]]) {
    expect(() => {
      view.append(list);
    }).toThrow(StorageInvariantError);
  }
  expect(view.lastIndex()).toBe(5);
});

test("compaction never goes beyond the snapshot, and an installed snapshot replaces the whole log", () => {
  const view = new LogView({ index: 0, term: 0 }, entries(1, 8, 1), null);
  view.compact(5);
  expect(view.firstIndex()).toBe(1);
  view.offer(snapshot(4, 1));
  view.compact(6);
  expect([view.firstIndex(), view.term(4)]).toEqual([5, 1]);
  view.install(snapshot(20, 3));
  expect([view.firstIndex(), view.lastIndex(), view.term(20)]).toEqual([21, 20, 3]);
});
