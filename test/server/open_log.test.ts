/** What the start of a member says of its log: damaged snapshots, a weak lock, no descriptors, a heap that is too small. */
import { createDataDir } from "../../src/storage/data_dir";
import { StartRefusedError } from "../../src/server/errors";
import { openLog } from "../../src/server/open_log";
import type { Storage } from "../../src/storage/storage";
import { ManualClock } from "../base/support/manual_clock";
import { ListLog } from "../replica/support/list_log";
import { CrashFs } from "../storage/support/crash_fs";
import {
  append,
  close,
  entries,
  entry,
  hardState,
  IDENTITY,
  save,
  SMALL,
  snapshot,
} from "../storage/support/values";

const DIR = "/data";

async function member(): Promise<{
  fs: CrashFs;
  log: ListLog;
  clock: ManualClock;
  start: (heap?: number) => Promise<Storage>;
}> {
  const fs = new CrashFs();
  const log = new ListLog();
  const clock = new ManualClock();
  await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
  const start = (heap?: number): Promise<Storage> =>
    openLog(DIR, { fs, wal: { ...SMALL, clock }, log }, heap);
  return { fs, log, clock, start };
}

test("a start says how much of the log's end was written again", async () => {
  const { log, start } = await member();
  await close(await start());
  const [line] = log.lines;
  expect(log.texts).toEqual(["info opened the log"]);
  expect(line?.fields["rewritten_bytes"]).toBeGreaterThan(0);
});

test("a damaged snapshot that an older one replaces is an error line with file, and the member starts", async () => {
  const { fs, log, start } = await member();
  const first = await start();
  await append(first, { hardState: hardState(1, 1n, 20), entries: entries(1, 20, 1) });
  await save(first, snapshot(10, 1), 0);
  await save(first, snapshot(20, 1), 0);
  await close(first);
  const newest =
    fs
      .files()
      .filter((path) => path.endsWith(".snap"))
      .at(-1) ?? "";
  const bytes = fs.contents(newest);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 6) ^ 1, bytes.length - 6);
  log.lines.length = 0;
  const storage = await start();
  expect(storage.snapshot()?.meta.index).toBe(10);
  expect(storage.lastIndex()).toBe(20);
  const line = log.lines.find(({ level }) => level === "error");
  expect(line?.text).toMatch(
    /^a snapshot is damaged: an older one and the log give the same state, nothing is lost/,
  );
  expect(line?.fields).toMatchObject({ file: newest });
  expect(line?.fields["problem"]).toContain("its data do not match their checksum");
  expect(line?.fields["problem"]).not.toContain("remove this member");
});

test("a lock that does not hold across network namespaces is a warning", async () => {
  const { fs, log, start } = await member();
  const lock = fs.lock.bind(fs);
  fs.lock = (path, done) => {
    lock(path, (...result) => {
      if (result[0] === null) done(null, { ...result[1], warning: "the lock is weak" });
      else done(...result);
    });
  };
  await close(await start());
  expect(log.texts).toContain("warn the lock is weak");
});

test("a lack of file descriptors is said once when it begins and once when it ends", async () => {
  const { fs, log, clock, start } = await member();
  const storage = await start();
  await append(storage, { hardState: hardState(1, 1n, 1), entries: [entry(1, 1)] });
  fs.fault = (kind) => (kind === "open" ? "EMFILE" : null);
  let saved = false;
  void save(storage, snapshot(1, 1), 0).then(() => (saved = true));
  for (let i = 0; i < 10; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(3000);
  }
  fs.fault = () => null;
  for (let i = 0; i < 10; i++) {
    clock.advance(3000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(saved).toBe(true);
  expect(log.texts.filter((text) => text.includes("descriptor"))).toEqual([
    expect.stringMatching(/^error no file descriptor left for the log: .*ulimit -n/),
    "info there is a file descriptor for the log again",
  ]);
});

describe("the heap", () => {
  const MIB = 1024 * 1024;

  test("one that is smaller than the log is refused before the log is read", async () => {
    const { fs, start } = await member();
    const used = fs.usedBytes();
    fs.fault = (kind) => (kind === "read" ? "EIO" : null);
    const refused = start(used - 1);
    await expect(refused).rejects.toBeInstanceOf(StartRefusedError);
    await expect(refused).rejects.toThrow(
      /holds 1 MiB, more than the heap .* NODE_OPTIONS=--max-old-space-size=49 /,
    );
  });

  test("one that may be too small is a warning with what to do", async () => {
    const { log, start } = await member();
    await close(await start(40 * MIB));
    expect(log.texts[0]).toMatch(
      /^warn the heap may be too small for the log.*NODE_OPTIONS=--max-old-space-size=49 /,
    );
  });

  test("one that suffices is not mentioned", async () => {
    const { log, start } = await member();
    await close(await start(64 * MIB));
    expect(log.texts).toEqual(["info opened the log"]);
  });
});
