/** Which segments a snapshot lets go. */
import type { FsDone } from "../../src/storage/fs";
import { SegmentList } from "../../src/storage/segment_list";

/** A file system that deletes one file at a time, when it is told to. */
function listOf(...nextIndexes: readonly number[]) {
  const deleted: string[] = [];
  const waiting: FsDone[] = [];
  const fs = {
    unlink: (path: string, done: FsDone) => {
      deleted.push(path);
      waiting.push(done);
    },
    syncDir: (_path: string, done: FsDone) => waiting.push(done),
  };
  const segments = nextIndexes.map((nextIndex, i) => ({ sequence: i + 1, nextIndex }));
  const list = new SegmentList(fs as never, "/d", segments, (error) => {
    throw error;
  });
  /** Ends deletions until none is under way. */
  const finish = (): void => {
    for (let done = waiting.shift(); done !== undefined; done = waiting.shift()) done(null);
  };
  return { list, finish, deleted: () => deleted.map((path) => Number(/\d+/.exec(path)?.[0])) };
}

test("those whose entries all are in the snapshot, the oldest first, and never the last", () => {
  const { list, finish, deleted } = listOf(1, 11, 21);
  list.drop(15, 3);
  finish();
  expect(deleted()).toEqual([1]);
  list.drop(99, 3);
  finish();
  expect(deleted()).toEqual([1, 2]);
});

test("not the one with the snapshot's mark, though the log goes on in another one while the first are deleted", () => {
  const { list, finish, deleted } = listOf(1, 11, 21);
  list.restartAt(36);
  list.drop(36, 3);
  list.add({ sequence: 4, nextIndex: 37 });
  finish();
  expect(deleted()).toEqual([1, 2]);
});
