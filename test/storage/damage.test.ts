/** Changed bytes and contradictory logs are detected, reported with file and offset, and never repaired. */
import { decodeHeadPayload, encodeHeadPayload, createSegment } from "../../src/storage/segment";
import { createDataDir, memberDir, readDataDirState } from "../../src/storage/data_dir";
import {
  decodeHardState,
  encodableEntry,
  encodeHardState,
  encodeSnapshotMark,
  writeEntry,
} from "../../src/storage/entry_codec";
import { DataDirError } from "../../src/storage/errors";
import { readLogOffline } from "../../src/storage/offline";
import { HEAD_SALT, RecordEncoder, RecordReader, RecordType } from "../../src/storage/record";
import { SnapshotStore } from "../../src/storage/snapshot_store";
import type { Entry } from "../../src/raft/index";
import type { Storage } from "../../src/storage/storage";
import { CrashFs, seeded } from "./support/crash_fs";
import { DIR } from "./support/scripted_run";
import {
  allEntries,
  append,
  close,
  describeEntries,
  entries,
  entry,
  fsRun,
  hardState,
  IDENTITY,
  open,
  save,
  settled,
  SMALL,
  snapshot,
} from "./support/values";

const MEMBER = memberDir(DIR);
const SEGMENT_1 = `${MEMBER}/0000000000000001.wal`;

interface Size {
  readonly segmentBytes?: number;
  readonly fill?: string;
  /** The n-th entry has n times this many bytes. */
  readonly entryBytes?: number;
  readonly snapshotBytes?: number;
}

/** A directory with two snapshots, several segments and a tail; the last write was acknowledged. */
async function rich({
  segmentBytes = 8192,
  fill = "d",
  entryBytes = 5,
  snapshotBytes = 20,
}: Size = {}): Promise<CrashFs> {
  const fs = new CrashFs();
  fs.recording = false;
  await createDataDir(fs, DIR, IDENTITY, undefined, SMALL);
  const { storage } = await open(fs, DIR, { segmentBytes });
  for (let i = 1; i <= 60; i++) {
    await append(storage, {
      hardState: hardState(1, 1n, i - 1),
      entries: [entry(i, 1, fill.repeat(i * entryBytes))],
    });
    if (i === 20 || i === 40 || i === 50) {
      await save(storage, snapshot(i, 1, `state at ${i} `.padEnd(snapshotBytes, "s")), 5);
    }
  }
  await append(storage, { hardState: hardState(3, 2n, 59), entries: [entry(60, 3, Buffer.alloc(900))] });
  await close(storage);
  return fs;
}

interface State {
  readonly hardState: unknown;
  readonly entries: readonly string[];
}

function stateOf(storage: Storage, from: number): State {
  return {
    hardState: storage.initialState().hardState,
    entries: describeEntries(allEntries(storage).filter((e) => e.index >= from)),
  };
}

/** Opens a directory with one bit flipped. "refused" or "reported" when the file is named, else the problem. */
async function outcome(fs: CrashFs, path: string, expected: State): Promise<string> {
  try {
    const { storage, report } = await open(fs, DIR);
    const state = stateOf(storage, 41);
    if (JSON.stringify(state, text) !== JSON.stringify(expected, text)) return "opened with another state";
    const files = [report.tornTail?.file, ...report.damagedSnapshots.map((d) => d.file)];
    return files.includes(path) ? "reported" : "not noticed";
  } catch (error) {
    if (!(error instanceof DataDirError)) return `threw ${String(error)}`;
    return error.file === path && error.message.includes(path) ? "refused" : `blamed ${error.file}`;
  }
}

function text(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}

/** MUSTER_FLIP_EVERY=1 flips every bit; when not set, about 4,000 chosen by seed. */
test("every flipped bit is detected, and its file is named", async () => {
  const fs = await rich({ segmentBytes: 24 * 1024, entryBytes: 24, snapshotBytes: 15_000 });
  const expected = stateOf((await open(fs.clone(), DIR)).storage, 41);
  expect(expected.entries.length).toBe(20);
  const paths = fs.files();
  expect(paths.filter((p) => p.endsWith(".snap")).length).toBe(2);
  expect(paths.filter((p) => p.endsWith(".wal")).length).toBeGreaterThan(1);
  expect(paths).not.toContain(SEGMENT_1);
  const bits = paths.reduce((sum, path) => sum + fs.contents(path).length * 8, 0);
  expect(bits / 8).toBeGreaterThanOrEqual(64 * 1024);
  const every = Number(process.env["MUSTER_FLIP_EVERY"] ?? Math.ceil(bits / 4000));
  const below = seeded(5);
  const tally = new Map<string, number>();
  for (const path of paths) {
    const total = fs.contents(path).length * 8;
    for (let bit = below(every); bit < total; bit += 1 + below(every * 2 - 1)) {
      const copy = fs.clone();
      copy.recording = false;
      const at = Math.floor(bit / 8);
      const bytes = copy.contents(path);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit % 8));
      const result = await outcome(copy, path, expected);
      tally.set(result, (tally.get(result) ?? 0) + 1);
      if (result !== "refused" && result !== "reported") throw new Error(`${path} bit ${bit}: ${result}`);
    }
  }
  console.log(
    `${bits} bits in ${paths.length} files; flipped bits: ${[...tally].map(([k, n]) => `${k} ${n}`).join(", ")}`,
  );
  expect(tally.get("refused")).toBeGreaterThan(100);
}, 1_200_000);

test("a flipped bit after the end of the log is cut off and kept in a file, and the next start reports nothing", async () => {
  const fs = await rich();
  const last =
    fs
      .files()
      .filter((p) => p.endsWith(".wal"))
      .at(-1) ?? "";
  const bytes = fs.contents(last);
  bytes[bytes.length - 100] = 16;
  const offline = await readLogOffline(DIR, fs);
  expect(offline.report.tornTail?.file).toBe(last);
  expect(fs.contents(last)[bytes.length - 100]).toBe(16);
  const seen: unknown[] = [];
  const { storage, report } = await open(fs, DIR, { onTornTail: (torn) => seen.push(torn) });
  expect(seen).toEqual([report.tornTail]);
  const kept = fs.contents(report.tornTail?.keptAs ?? "");
  expect(kept.length).toBe(report.tornTail?.bytes);
  expect(kept.at(-1)).toBe(16);
  await close(storage);
  expect((await open(fs, DIR)).report.tornTail).toBeNull();
});

test("a sector of an acknowledged record that is zero is damage, not a torn tail, when a later write followed", async () => {
  const fs = await rich();
  const last =
    fs
      .files()
      .filter((p) => p.endsWith(".wal"))
      .at(-1) ?? "";
  const bytes = fs.contents(last);
  // The last write begins with the vote of term 3; everything before it was synced.
  const reader = new RecordReader(bytes);
  let end = 0;
  for (let read = reader.next(); read.kind === "record"; read = reader.next()) {
    if (read.type === RecordType.HardState && decodeHardState(read.payload).term < 3) end = read.end;
  }
  expect(end).toBeGreaterThan(1024);
  for (let at = 0; at < end; at += 512) {
    const copy = fs.clone();
    copy.contents(last).fill(0, at, Math.min(end, at + 512));
    await expect(open(copy, DIR)).rejects.toMatchObject({ reason: "damage", file: last });
  }
});

test("without the newest snapshot, or with a damaged one, the snapshot before and the log give the same state", async () => {
  const fs = await rich();
  const newest =
    fs
      .files()
      .filter((p) => p.endsWith(".snap"))
      .at(-1) ?? "";
  const expected = stateOf((await open(fs.clone(), DIR)).storage, 41);
  for (const harm of ["damage", "remove"]) {
    const copy = fs.clone();
    if (harm === "damage") copy.contents(newest)[60] = 1;
    else {
      await fsRun((done) => {
        copy.unlink(newest, done);
      });
    }
    const seen: string[] = [];
    const { storage, report } = await open(copy, DIR, { onDamagedSnapshot: (d) => seen.push(d.file) });
    expect(report.snapshotIndex).toBe(40);
    expect(seen).toEqual([newest]);
    expect(stateOf(storage, 41)).toEqual(expected);
    expect(allEntries(storage)[0]?.index).toBeLessThanOrEqual(41);
    await close(storage);
  }
});

test("the start is refused when both snapshots are missing, or an installed one", async () => {
  const fs = await rich();
  for (const path of fs.files().filter((p) => p.endsWith(".snap"))) {
    await fsRun((done) => {
      fs.unlink(path, done);
    });
  }
  await expect(open(fs, DIR)).rejects.toMatchObject({ reason: "gap" });

  const installed = new CrashFs();
  await createDataDir(installed, DIR, IDENTITY, undefined, SMALL);
  const { storage } = await open(installed, DIR);
  await append(storage, { entries: entries(1, 3, 1) });
  await append(storage, { snapshot: snapshot(50, 2) });
  await append(storage, { entries: [entry(51, 2)] });
  await close(storage);
  const path = installed.files().find((p) => p.endsWith(".snap")) ?? "";
  installed.contents(path)[70] = 1;
  await expect(open(installed, DIR)).rejects.toMatchObject({ reason: "damage", file: path });
});

test("a missing segment is a gap, and so is a log without segments", async () => {
  const fs = await rich({ segmentBytes: 4096 });
  const segments = fs.files().filter((p) => p.endsWith(".wal"));
  expect(segments.length).toBeGreaterThan(2);
  const copy = fs.clone();
  await fsRun((done) => {
    copy.unlink(segments[1] ?? "", done);
  });
  await expect(open(copy, DIR)).rejects.toMatchObject({ reason: "gap", file: segments[1] });
  for (const path of segments) {
    await fsRun((done) => {
      fs.unlink(path, done);
    });
  }
  await expect(open(fs, DIR)).rejects.toMatchObject({ reason: "gap" });
  await expect(readDataDirState(fs, DIR)).rejects.toMatchObject({ reason: "gap" });
});

test("a segment of another member, or of another place in the log, is refused", async () => {
  const fs = await rich();
  const other = new CrashFs();
  await createDataDir(other, DIR, { ...IDENTITY, memberId: 5n }, undefined, SMALL);
  const last =
    fs
      .files()
      .filter((p) => p.endsWith(".wal"))
      .at(-1) ?? "";
  const foreign = other.contents(SEGMENT_1);
  foreign.copy(fs.contents(last));
  await expect(open(fs, DIR)).rejects.toMatchObject({ reason: "damage", file: last });

  // The same member, indexes and terms, but other entries: only the chain of checksums reveals it.
  const mine = await rich();
  const twin = await rich({ fill: "e" });
  twin.contents(last).copy(mine.contents(last));
  await expect(open(mine, DIR)).rejects.toMatchObject({ reason: "damage", file: last, offset: 0 });
});

test("a snapshot without a record in the log was never acknowledged: it is ignored and deleted", async () => {
  const fs = await rich();
  const before = fs.files();
  const store = new SnapshotStore(fs, MEMBER, IDENTITY, []);
  for (const orphan of [snapshot(55, 1), snapshot(900, 4)]) {
    await settled((done) => {
      store.write(orphan, done);
    });
  }
  expect(fs.files().length).toBe(before.length + 2);
  const { storage, report } = await open(fs, DIR);
  expect(report.snapshotIndex).toBe(50);
  expect(storage.lastIndex()).toBe(60);
  expect(fs.files()).toEqual(before);
});

type Content = (encoder: RecordEncoder) => void;

function addEntry(encoder: RecordEncoder, value: Entry): void {
  const encodable = encodableEntry(value);
  const at = encoder.reserve(encodable.sizeBytes);
  writeEntry(encoder.buffer, at, encodable);
  encoder.commit(RecordType.Entry, encodable.sizeBytes);
}

/** A directory whose only segment has whole records with the given content. */
async function crafted(content: Content, nextIndex = 1): Promise<CrashFs> {
  const fs = new CrashFs();
  await fsRun((done) => {
    fs.mkdir(DIR, done);
  });
  await fsRun((done) => {
    fs.mkdir(MEMBER, done);
  });
  const head = { identity: IDENTITY, sequence: 1, nextIndex, hardState: hardState(1, 0n, 0) };
  await new Promise<void>((resolve, reject) => {
    createSegment(fs, MEMBER, head, 0, 4096, content, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
  return fs;
}

const CONTRADICTIONS: readonly [string, string, Content][] = [
  [
    "a commit index beyond the log",
    "hard-state-beyond-log",
    (e) => {
      addEntry(e, entry(1, 1));
      e.add(RecordType.HardState, encodeHardState(hardState(1, 0n, 2)));
    },
  ],
  [
    "an entry that leaves a gap",
    "gap",
    (e) => {
      addEntry(e, entry(1, 1));
      addEntry(e, entry(3, 1));
    },
  ],
  [
    "an entry in place of a committed one",
    "damage",
    (e) => {
      addEntry(e, entry(1, 1));
      e.add(RecordType.HardState, encodeHardState(hardState(1, 0n, 1)));
      addEntry(e, entry(1, 2));
    },
  ],
  [
    "a term that goes back",
    "damage",
    (e) => {
      e.add(RecordType.HardState, encodeHardState(hardState(5, 0n, 0)));
      e.add(RecordType.HardState, encodeHardState(hardState(4, 0n, 0)));
    },
  ],
  [
    "a mark of a snapshot beyond the log",
    "gap",
    (e) => {
      e.add(RecordType.SnapshotMark, encodeSnapshotMark({ index: 9, term: 1, installed: false }));
    },
  ],
  [
    "a mark of another term than the entry's",
    "damage",
    (e) => {
      addEntry(e, entry(1, 1));
      e.add(RecordType.SnapshotMark, encodeSnapshotMark({ index: 1, term: 2, installed: false }));
    },
  ],
  [
    "an entry that does not decode",
    "damage",
    (e) => {
      e.add(RecordType.Entry, Buffer.from([0x18, 0x09]));
    },
  ],
];

test.each(CONTRADICTIONS)(
  "%s is refused as %s, with a message that says what to do",
  async (_what, reason, content) => {
    const fs = await crafted(content);
    const refusal = await open(fs, DIR).then(
      () => null,
      (error: unknown) => error,
    );
    if (!(refusal instanceof DataDirError)) throw new Error(`not refused: ${String(refusal)}`);
    expect([refusal.reason, refusal.file]).toEqual([reason, SEGMENT_1]);
    expect(refusal.offset).toBeGreaterThan(0);
    expect(refusal.message).toContain(`byte ${refusal.offset}`);
    expect(refusal.message).toMatch(/remove this member .* add it again with an empty data directory/);
    // The lock was released: the next attempt is refused for the same reason.
    await expect(open(fs, DIR)).rejects.toMatchObject({ reason });
  },
);

test("a log that does not begin at index 1 and has no snapshot before it is a gap", async () => {
  const fs = await crafted((e) => {
    addEntry(e, entry(7, 1));
  }, 7);
  await expect(open(fs, DIR)).rejects.toMatchObject({ reason: "gap" });
});

test("a newer format version is refused with a reason of its own", async () => {
  const fs = await crafted(() => undefined);
  const bytes = fs.contents(SEGMENT_1);
  const head = new RecordReader(bytes).next();
  if (head.kind !== "record") throw new Error("the crafted head is not whole");
  const { chain, head: value } = decodeHeadPayload(head.payload);
  const payload = Buffer.from(encodeHeadPayload(chain, value));
  // format_version is the first field of the identity, which is the first of the message.
  expect(payload.subarray(6, 8)).toEqual(Buffer.from([0x08, 1]));
  payload[7] = 2;
  const encoder = new RecordEncoder();
  encoder.begin(0, 0, HEAD_SALT, true);
  encoder.add(RecordType.SegmentHead, payload);
  encoder.bytes().copy(bytes);
  await expect(open(fs, DIR)).rejects.toMatchObject({ reason: "newer-format", file: SEGMENT_1 });
  await expect(readDataDirState(fs, DIR)).rejects.toMatchObject({ reason: "newer-format" });
});

test("an error of the operating system is an io error with its code", async () => {
  const fs = await rich();
  fs.fault = (kind) => (kind === "read" ? "EACCES" : null);
  await expect(open(fs, DIR)).rejects.toMatchObject({ reason: "io", errno: "EACCES" });
});
