/** The durable storage on the real file system: acknowledged data are there after closing and opening again. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDataDir, markRemoved, memberDir, readDataDirState } from "../../src/storage/data_dir";
import { nodeFs } from "../../src/storage/node_fs";
import { readLogOffline } from "../../src/storage/offline";
import {
  allEntries,
  append,
  close,
  CONF,
  describeEntries,
  entries,
  entry,
  hardState,
  IDENTITY,
  open,
  save,
  SMALL,
  snapshot,
} from "./support/values";

let root: string;
let dir: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "muster-storage-"));
  dir = join(root, "a", "data");
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function create(): Promise<void> {
  return createDataDir(nodeFs, dir, IDENTITY, undefined, SMALL);
}

test("a new directory holds its identity and the bootstrap entries, committed", async () => {
  const initial = { entries: entries(1, 3, 1), hardState: hardState(1, 0n, 3) };
  await createDataDir(nodeFs, dir, IDENTITY, initial, SMALL);
  expect(await readDataDirState(nodeFs, dir)).toEqual({ identity: IDENTITY, removed: null });
  const { storage, report } = await open(nodeFs, dir);
  expect(storage.identity).toEqual(IDENTITY);
  expect(storage.initialState().hardState).toEqual(hardState(1, 0n, 3));
  expect(describeEntries(allEntries(storage))).toEqual(describeEntries(initial.entries));
  expect(report).toMatchObject({ entries: 3, firstIndex: 1, lastIndex: 3, snapshotIndex: 0, tornTail: null });
  await close(storage);
});

test("entries, votes and an overwritten tail survive closing and opening", async () => {
  await create();
  const first = (await open(nodeFs, dir)).storage;
  await append(first, { hardState: hardState(1, 7n, 0), entries: entries(1, 10, 1) });
  await append(first, { hardState: hardState(1, 7n, 5), mustSync: false });
  await append(first, { hardState: hardState(3, 9n, 6), entries: entries(8, 9, 3) });
  await close(first);

  const { storage, report } = await open(nodeFs, dir);
  expect(storage.initialState().hardState).toEqual(hardState(3, 9n, 6));
  const expected = [...entries(1, 7, 1), ...entries(8, 9, 3)];
  expect(describeEntries(allEntries(storage))).toEqual(describeEntries(expected));
  expect(report.lastIndex).toBe(9);
  await close(storage);
});

test("the log continues over many segments and restarts", async () => {
  await create();
  for (let round = 0; round < 4; round++) {
    const { storage } = await open(nodeFs, dir);
    expect(storage.lastIndex()).toBe(round * 200);
    const term = round + 1;
    const from = round * 200 + 1;
    const writes = Array.from({ length: 200 }, (_, i) =>
      append(storage, { hardState: hardState(term, 1n, from + i - 1), entries: [entry(from + i, term)] }),
    );
    await Promise.all(writes);
    await close(storage);
  }
  const log = await readLogOffline(dir);
  expect(log.report.segments.length).toBeGreaterThan(3);
  expect(log.entries.map((e) => e.index)).toEqual(Array.from({ length: 800 }, (_, i) => i + 1));
  expect(log.hardState).toEqual(hardState(4, 1n, 799));
});

test("saving a snapshot deletes older entries, segments and snapshots; the log after it stays", async () => {
  await create();
  const { storage } = await open(nodeFs, dir);
  for (let last = 150; last <= 600; last += 150) {
    const indexes = Array.from({ length: 150 }, (_, i) => last - 149 + i);
    const writes = indexes.map((i) =>
      append(storage, { hardState: hardState(1, 1n, i - 1), entries: [entry(i, 1)] }),
    );
    await Promise.all(writes);
    await save(storage, snapshot(last, 1), 20);
  }
  expect(storage.firstIndex()).toBe(581);
  expect(storage.term(580)).toBe(1);
  expect(storage.entries(580, 590, Infinity)).toBe("compacted");
  await close(storage);

  const names = readdirSync(memberDir(dir)).sort();
  expect(names.filter((n) => n.endsWith(".snap"))).toEqual([
    "0000000000000450-0000000000000001.snap",
    "0000000000000600-0000000000000001.snap",
  ]);
  expect(names).not.toContain("0000000000000001.wal");

  const again = await open(nodeFs, dir);
  expect(again.report.snapshotIndex).toBe(600);
  expect(again.storage.initialState()).toEqual({ hardState: hardState(1, 1n, 600), confState: CONF });
  expect(Buffer.from(again.storage.snapshot()?.data ?? []).toString()).toBe("state at 600");
  expect(again.storage.firstIndex()).toBeLessThanOrEqual(451);
  expect(again.storage.lastIndex()).toBe(600);
  await close(again.storage);
});

test("a snapshot from a leader replaces the log", async () => {
  await create();
  const { storage } = await open(nodeFs, dir);
  await append(storage, { hardState: hardState(1, 1n, 5), entries: entries(1, 20, 1) });
  const installing = append(storage, {
    hardState: hardState(4, 0n, 100),
    snapshot: snapshot(100, 3),
    mustSync: false,
  });
  expect([storage.firstIndex(), storage.lastIndex(), storage.term(100)]).toEqual([101, 100, 3]);
  await installing;
  await append(storage, { entries: entries(101, 103, 4) });
  await close(storage);

  const again = await open(nodeFs, dir);
  expect(again.storage.initialState()).toEqual({ hardState: hardState(4, 0n, 100), confState: CONF });
  expect(again.storage.snapshot()?.meta.index).toBe(100);
  expect(allEntries(again.storage).map((e) => [e.index, e.term])).toEqual([
    [101, 4],
    [102, 4],
    [103, 4],
  ]);
  await close(again.storage);
});

test("a directory in use, of another cluster or member, or removed is refused", async () => {
  await create();
  const { storage } = await open(nodeFs, dir);
  await expect(open(nodeFs, dir)).rejects.toMatchObject({
    name: "DataDirError",
    reason: "in-use",
    file: dir,
  });
  await close(storage);
  const refused = (expectedIdentity: object): Promise<unknown> => open(nodeFs, dir, { expectedIdentity });
  await expect(refused({ clusterId: 5n })).rejects.toMatchObject({ reason: "other-cluster" });
  await expect(refused({ memberId: 5n })).rejects.toMatchObject({ reason: "other-member" });
  await expect(refused({ instanceId: new Uint8Array(16) })).rejects.toMatchObject({
    reason: "other-instance",
  });
  const mine = await open(nodeFs, dir, { expectedIdentity: IDENTITY });
  await markRemoved(nodeFs, dir, { revision: 42, text: "removed by an operator" });
  await close(mine.storage);
  await expect(open(nodeFs, dir)).rejects.toMatchObject({ reason: "removed" });
  expect(await readDataDirState(nodeFs, dir)).toEqual({
    identity: IDENTITY,
    removed: { revision: 42, text: "removed by an operator" },
  });
});

test("the error distinguishes a directory that does not exist, is empty or has a log already", async () => {
  expect(await readDataDirState(nodeFs, dir)).toBe("absent");
  await expect(open(nodeFs, dir)).rejects.toMatchObject({ reason: "absent" });
  expect(await readDataDirState(nodeFs, root)).toBe("empty");
  await create();
  await expect(create()).rejects.toMatchObject({ reason: "exists" });
});

test("callbacks come in order and never inside the call; after closing they get an error", async () => {
  await create();
  const { storage } = await open(nodeFs, dir);
  const order: number[] = [];
  let inside = true;
  const writes = Array.from({ length: 60 }, (_, i) => {
    const kind = i % 3;
    const index = storage.lastIndex() + 1;
    const write =
      kind === 0
        ? append(storage, { entries: [entry(index, 1)] })
        : kind === 1
          ? append(storage, { hardState: hardState(1, 1n, index - 1), mustSync: false })
          : append(storage, {});
    return write.then(() => {
      expect(inside).toBe(false);
      order.push(i);
    });
  });
  inside = false;
  await Promise.all(writes);
  expect(order).toEqual(Array.from({ length: 60 }, (_, i) => i));
  await close(storage);
  await expect(append(storage, {})).rejects.toMatchObject({ reason: "closed" });
  await expect(save(storage, snapshot(1, 1), 0)).rejects.toMatchObject({ reason: "closed" });
});
