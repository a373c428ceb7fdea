/**
 * A failed sync, then a restart, then a power loss, on both kinds of file system: one that gives the old data after the
 * failure, and one whose page cache goes on with the new data but takes them for durable. What the restart has counted
 * must survive the power loss.
 */
import { createDataDir, readDataDirState } from "../../src/storage/data_dir";
import { CrashFs, PowerLoss, seeded, type FailedSync } from "./support/crash_fs";
import { DIR, scriptedRun } from "./support/scripted_run";
import { allEntries, append, close, describeEntries, entry, IDENTITY, open, SMALL } from "./support/values";

const KINDS: readonly FailedSync[] = ["reverts", "forgets"];

function failNth(fs: CrashFs, kind: "sync" | "syncDir", n: number, only = ""): () => boolean {
  let seen = 0;
  fs.fault = (k, path) => (k === kind && path.includes(only) && ++seen === n ? "EIO" : null);
  return () => seen >= n;
}

function restarted(fs: CrashFs): void {
  fs.fault = () => null;
  fs.killed();
}

/** A file system after a power loss that kept nothing that was not synced. */
function afterPowerLoss(fs: CrashFs): CrashFs {
  const power = new PowerLoss();
  for (const op of fs.ops) power.apply(op);
  return power.crash(() => 0);
}

test.each(KINDS)(
  "a record whose sync failed counts after a restart only when it is on the disk (%s)",
  async (kind) => {
    const fs = new CrashFs();
    fs.failedSync = kind;
    await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
    const first = (await open(fs, DIR)).storage;
    await append(first, { entries: [entry(1, 1)] });
    failNth(fs, "sync", 1);
    await expect(append(first, { entries: [entry(2, 1)] })).rejects.toMatchObject({ reason: "io" });
    restarted(fs);
    const { storage, report } = await open(fs, DIR);
    const counted = describeEntries(allEntries(storage));
    expect(counted).toContain("1/1 entry 1/1");
    expect(report.rewrittenBytes).toBeGreaterThan(0);
    const after = afterPowerLoss(fs);
    expect(describeEntries(allEntries((await open(after, DIR)).storage))).toEqual(counted);
    await append(storage, { entries: [entry(storage.lastIndex() + 1, 2, "later")] });
    const later = afterPowerLoss(fs);
    expect(describeEntries(allEntries((await open(later, DIR)).storage))).toEqual([
      ...counted,
      `${String(counted.length + 1)}/2 later`,
    ]);
  },
);

test.each(KINDS)(
  "a segment whose directory's sync failed is there after the next power loss (%s)",
  async (kind) => {
    const fs = new CrashFs();
    fs.failedSync = kind;
    await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
    const first = (await open(fs, DIR)).storage;
    failNth(fs, "syncDir", 1);
    let index = 0;
    try {
      for (;;) await append(first, { entries: [entry(++index, 1, "x".repeat(500))] });
    } catch (error) {
      expect(error).toMatchObject({ reason: "io" });
    }
    restarted(fs);
    const { storage } = await open(fs, DIR);
    await append(storage, { entries: [entry(storage.lastIndex() + 1, 2, "later")] });
    const counted = describeEntries(allEntries(storage));
    const after = await open(afterPowerLoss(fs), DIR);
    expect(describeEntries(allEntries(after.storage))).toEqual(counted);
  },
);

test.each(KINDS)("a directory whose creation was not synced is not taken for complete (%s)", async (kind) => {
  for (let n = 1; n <= 4; n++) {
    const fs = new CrashFs();
    fs.failedSync = kind;
    const failed = failNth(fs, "syncDir", n);
    const created = createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
    if (
      await created.then(
        () => true,
        () => false,
      )
    ) {
      expect(failed()).toBe(false);
      continue;
    }
    restarted(fs);
    expect(["absent", "empty"]).toContain(await readDataDirState(fs, DIR));
    await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
    const { storage } = await open(fs, DIR);
    await append(storage, { entries: [entry(1, 1)] });
    const after = await open(afterPowerLoss(fs), DIR);
    expect(after.storage.lastIndex()).toBe(1);
  }
});

test("what is written again is bounded: not more than the last write and the space ahead", async () => {
  const fs = new CrashFs();
  await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
  const first = (await open(fs, DIR)).storage;
  for (let i = 1; i <= 20; i++) await append(first, { entries: [entry(i, 1, "x".repeat(500))] });
  await close(first);
  const { report } = await open(fs, DIR);
  const ahead = 2 * 4096 + 2048 + 512;
  expect(report.rewrittenBytes).toBeLessThanOrEqual(1024 + ahead);
});

test.each(KINDS)(
  "every sync of scripted runs fails once: what a restart counts survives a power loss (%s)",
  async (kind) => {
    let tried = 0;
    for (const seed of [41, 42]) {
      for (const operation of ["sync", "syncDir"] as const) {
        for (let n = 1; ; n++) {
          const fs = new CrashFs();
          fs.failedSync = kind;
          const failed = failNth(fs, operation, n);
          await scriptedRun(seeded(seed), 30, fs);
          if (!failed()) break;
          restarted(fs);
          if (typeof (await readDataDirState(fs, DIR)) === "string") continue;
          const { storage } = await open(fs, DIR);
          const state = storage.initialState().hardState;
          await append(storage, { entries: [entry(storage.lastIndex() + 1, state.term, "later")] });
          const counted = describeEntries(allEntries(storage));
          const power = new PowerLoss();
          for (const op of fs.ops) power.apply(op);
          const below = seeded(n);
          for (const left of [power.crash(() => 0), power.crash(below), power.crash(below)]) {
            const again = (await open(left, DIR)).storage;
            expect(describeEntries(allEntries(again))).toEqual(counted);
            expect(again.initialState().hardState).toMatchObject({ term: state.term, vote: state.vote });
          }
          tried++;
        }
      }
    }
    expect(tried).toBeGreaterThan(30);
  },
);
