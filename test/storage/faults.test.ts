/** Failing and full disks: which operations are acknowledged, and which are never tried again. */
import { ManualClock } from "../base/support/manual_clock";
import { createDataDir } from "../../src/storage/data_dir";
import type { StorageError } from "../../src/storage/storage";
import type { OpenOptions } from "../../src/storage/wal";
import { CrashFs, type FaultKind } from "./support/crash_fs";
import { DIR } from "./support/scripted_run";
import {
  allEntries,
  append,
  batch,
  close,
  entries,
  entry,
  hardState,
  IDENTITY,
  open,
  save,
  SMALL,
  snapshot,
} from "./support/values";

async function created(): Promise<CrashFs> {
  const fs = new CrashFs();
  await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
  return fs;
}

/** Waits until every started operation has ended; the file system answers in microtasks. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** Counts what reaches the disk, and fails the n-th operation of one kind. */
function failing(
  fs: CrashFs,
  kind: FaultKind,
  n: number,
  code: string,
): { touched: string[]; failedAt: () => number } {
  const touched: string[] = [];
  let seen = 0;
  let failedAt = -1;
  fs.fault = (k, path) => {
    if (k === "write" || k === "sync") touched.push(`${k} ${path}`);
    if (k !== kind || ++seen !== n) return null;
    failedAt = touched.length;
    return code;
  };
  return { touched, failedAt: () => failedAt };
}

const syncDirFails: CrashFs["fault"] = (kind) => (kind === "syncDir" ? "EIO" : null);

const FINAL: readonly [FaultKind, string][] = [
  ["write", "EIO"],
  ["sync", "EIO"],
  // ENOSPC is only transient where a file grows; a failed sync may have lost data, whatever its error code.
  ["sync", "ENOSPC"],
];

test.each(FINAL)(
  "the first failed %s (%s) is final: no write, no sync, no acknowledgement after it",
  async (kind, code) => {
    for (let n = 1; n <= 60; n++) {
      const fs = await created();
      const { storage } = await open(fs, DIR);
      const { touched, failedAt } = failing(fs, kind, n, code);
      let acked = 0;
      const failures: (StorageError | null)[] = [];
      for (let i = 1; i <= 60; i++) {
        storage.append(batch({ entries: [entry(i, 1, "x".repeat(400))] }), (error) => {
          if (error === null) {
            expect(failures).toEqual([]);
            acked = i;
          } else failures.push(error);
        });
        if (i % 3 === 0) await settle();
      }
      await settle();
      if (failedAt() === -1) {
        expect(acked).toBe(60);
        continue;
      }
      expect(touched.length).toBe(failedAt());
      expect(failures.length).toBe(60 - acked);
      expect(new Set(failures).size).toBe(1);
      expect(failures[0]).toMatchObject({ reason: "io", errno: code });
      expect(storage.hasSpace()).toBe(false);
      await expect(append(storage, { mustSync: false })).rejects.toBe(failures[0]);
      await expect(save(storage, snapshot(1, 1), 0)).rejects.toBe(failures[0]);
      await expect(close(storage)).rejects.toBe(failures[0]);
      expect(touched.length).toBe(failedAt());
      fs.fault = () => null;
      const again = await open(fs, DIR);
      expect(again.storage.lastIndex()).toBeGreaterThanOrEqual(acked);
    }
  },
);

test("a failure that no callback waits for is reported: the directory's sync after a segment was deleted", async () => {
  const fs = await created();
  const { storage } = await open(fs, DIR);
  const told: StorageError[] = [];
  storage.onFailure((error) => told.push(error));
  for (let i = 1; i <= 60; i++) {
    await append(storage, { hardState: hardState(1, 1n, i - 1), entries: [entry(i, 1, "x".repeat(600))] });
    if (i === 30) await save(storage, snapshot(29, 1), 0);
  }
  const segments = fs.files().filter((path) => path.endsWith(".wal")).length;
  fs.fault = (kind, path) =>
    kind === "unlink" && path.endsWith(".wal") ? ((fs.fault = syncDirFails), null) : null;
  await save(storage, snapshot(58, 1), 0);
  await settle();
  expect(fs.files().filter((path) => path.endsWith(".wal")).length).toBe(segments - 1);
  expect(told).toMatchObject([{ reason: "io", errno: "EIO", file: `${DIR}/member` }]);
  expect(storage.hasSpace()).toBe(false);
  // A callback that is registered later gets the error at once.
  const late: StorageError[] = [];
  storage.onFailure((error) => late.push(error));
  await settle();
  expect(late).toEqual(told);
  await expect(append(storage, { entries: [entry(61, 1)] })).rejects.toBe(told[0]);
  await expect(close(storage)).rejects.toBe(told[0]);
});

/** A clock that only the test advances. */
function timers(): { options: OpenOptions; fire: () => void; armed: () => number } {
  const clock = new ManualClock();
  return {
    options: { clock },
    fire: () => {
      clock.advance(1000);
    },
    armed: () => clock.timerCount,
  };
}

test("a full disk is not final: the reserve takes batches that are under way, later ones wait in order", async () => {
  const fs = await created();
  const clock = timers();
  const { storage } = await open(fs, DIR, clock.options);
  fs.capacityBytes = fs.usedBytes();
  const acked: number[] = [];
  let index = 0;
  const add = (): void => {
    const i = ++index;
    storage.append(
      batch({ hardState: hardState(1, 1n, 0), entries: [entry(i, 1, "x".repeat(300))] }),
      (error) => {
        expect(error).toBeNull();
        acked.push(i);
      },
    );
  };
  while (storage.hasSpace()) {
    add();
    await settle();
  }
  // Batches that were appended after the disk was found full still fit into the reserve...
  const before = acked.length;
  add();
  await settle();
  expect(acked.length).toBe(before + 1);
  // ...and votes are still written when the reserve for entries is used up.
  while (acked.length === index) {
    add();
    await settle();
  }
  const stuck = index;
  expect(storage.lastIndex()).toBe(stuck);
  expect(clock.armed()).toBe(1);
  clock.fire();
  await settle();
  expect(acked.length).toBe(stuck - 1);
  add();
  fs.capacityBytes = Infinity;
  clock.fire();
  await settle();
  expect(acked).toEqual(Array.from({ length: index }, (_, i) => i + 1));
  expect(storage.hasSpace()).toBe(true);
  await close(storage);
  expect((await open(fs, DIR)).storage.lastIndex()).toBe(index);
});

test("votes are taken from the reserve while there is no space for entries", async () => {
  const fs = await created();
  const clock = timers();
  const { storage } = await open(fs, DIR, clock.options);
  fs.capacityBytes = fs.usedBytes();
  let last = 0;
  while (storage.hasSpace()) await append(storage, { entries: [entry(++last, 1, "x".repeat(200))] });
  for (let term = 2; term < 8; term++) {
    await append(storage, { hardState: hardState(term, 3n, 0) });
    await append(storage, { hardState: hardState(term, 3n, 0), mustSync: false });
  }
  await close(storage);
  const again = await open(fs, DIR, clock.options);
  expect(again.storage.initialState().hardState).toEqual(hardState(7, 3n, 0));
  expect(again.storage.lastIndex()).toBe(last);
});

test("new space is noticed even when no batch waits", async () => {
  const fs = await created();
  const clock = timers();
  const { storage } = await open(fs, DIR, clock.options);
  fs.capacityBytes = fs.usedBytes();
  for (let i = 1; storage.hasSpace(); i++) await append(storage, { entries: [entry(i, 1, "x".repeat(200))] });
  fs.capacityBytes = Infinity;
  expect(storage.hasSpace()).toBe(false);
  clock.fire();
  await settle();
  expect(storage.hasSpace()).toBe(true);
  expect(clock.armed()).toBe(0);
  await close(storage);
});

test("a disk that is full when the directory is opened is noticed before a batch is accepted", async () => {
  const fs = await created();
  const clock = timers();
  const first = (await open(fs, DIR, clock.options)).storage;
  fs.capacityBytes = fs.usedBytes();
  for (let i = 1; first.hasSpace(); i++) await append(first, { entries: [entry(i, 1, "x".repeat(200))] });
  await close(first);
  const { storage } = await open(fs, DIR, clock.options);
  await settle();
  expect(storage.hasSpace()).toBe(false);
  await close(storage);
});

test("a snapshot without space is refused, and the log goes on", async () => {
  const fs = await created();
  const { storage } = await open(fs, DIR);
  await append(storage, { hardState: hardState(1, 1n, 0), entries: entries(1, 5, 1) });
  await append(storage, { hardState: hardState(1, 1n, 5) });
  fs.capacityBytes = fs.usedBytes();
  await expect(save(storage, snapshot(5, 1, "x".repeat(9000)), 0)).rejects.toMatchObject({
    reason: "disk-full",
  });
  expect(storage.snapshot()).toBeNull();
  expect(storage.firstIndex()).toBe(1);
  fs.capacityBytes = Infinity;
  await append(storage, { entries: [entry(6, 1)] });
  await save(storage, snapshot(5, 1), 0);
  expect(storage.snapshot()?.meta.index).toBe(5);
  expect(allEntries(storage).map((e) => e.index)).toEqual([6]);
  await close(storage);
  expect(fs.files().filter((path) => path.endsWith(".tmp"))).toEqual([]);
});

test("a leader's snapshot waits for space and is acknowledged when it is durable", async () => {
  const fs = await created();
  const clock = timers();
  const { storage } = await open(fs, DIR, clock.options);
  fs.capacityBytes = fs.usedBytes();
  const order: string[] = [];
  const install = append(storage, { snapshot: snapshot(50, 2, "y".repeat(5000)) }).then(() =>
    order.push("snapshot"),
  );
  const next = append(storage, { entries: [entry(51, 2)] }).then(() => order.push("entry"));
  await settle();
  expect(order).toEqual([]);
  expect(storage.hasSpace()).toBe(false);
  fs.capacityBytes = Infinity;
  clock.fire();
  await Promise.all([install, next]);
  expect(order).toEqual(["snapshot", "entry"]);
  await close(storage);
  const again = await open(fs, DIR);
  expect([again.storage.snapshot()?.meta.index, again.storage.lastIndex()]).toEqual([50, 51]);
});

test("closing drops batches that wait for space, and keeps everything that was acknowledged", async () => {
  const fs = await created();
  const clock = timers();
  const { storage } = await open(fs, DIR, clock.options);
  fs.capacityBytes = fs.usedBytes();
  const big = append(storage, { entries: [entry(1, 1, "x".repeat(20_000))] });
  const refused = expect(big).rejects.toMatchObject({ reason: "closed" });
  await settle();
  await close(storage);
  await refused;
  expect(clock.armed()).toBe(0);
  expect((await open(fs, DIR)).storage.lastIndex()).toBe(0);
});

test("waiting batches are written in one write and one sync", async () => {
  const fs = await created();
  const { storage } = await open(fs, DIR);
  await append(storage, { entries: [entry(1, 1)] });
  await settle();
  const { touched } = failing(fs, "write", -1, "");
  const writes = Array.from({ length: 10 }, (_, i) => append(storage, { entries: [entry(i + 2, 1)] }));
  await Promise.all(writes);
  // The first batch alone, then the other 9 together.
  expect(touched.map((t) => t.split(" ")[0])).toEqual(["write", "sync", "write", "sync"]);
  await close(storage);
});

test("a commit index alone causes no write: it is written with the next synced batch, or at close", async () => {
  const fs = await created();
  const { storage } = await open(fs, DIR);
  await append(storage, { hardState: hardState(1, 1n, 0), entries: entries(1, 3, 1) });
  const { touched } = failing(fs, "write", -1, "");
  const kinds = (): (string | undefined)[] => touched.map((t) => t.split(" ")[0]);
  await append(storage, { hardState: hardState(1, 1n, 2), mustSync: false });
  expect(kinds()).toEqual([]);
  await append(storage, { entries: [entry(4, 1)] });
  expect(kinds()).toEqual(["write", "sync"]);
  const synced = await open(fs.clone(), DIR);
  expect(synced.storage.initialState().hardState).toEqual(hardState(1, 1n, 2));
  await append(storage, { hardState: hardState(1, 1n, 3), mustSync: false });
  expect(kinds()).toEqual(["write", "sync"]);
  await close(storage);
  expect((await open(fs, DIR)).storage.initialState().hardState).toEqual(hardState(1, 1n, 3));
});
