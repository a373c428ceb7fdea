/**
 * A member's data directory: its creation, its identity, and the mark of a removed member.
 *
 *     DIR/member/   segments and snapshots; created by one rename, so it is complete or absent
 *     DIR/REMOVED   present when the member was removed from its cluster; the directory cannot be opened again
 *
 * DIR itself may be a mount point: only names inside it are created and renamed.
 */
import { EMPTY_HARD_STATE, NO_NODE, type Entry, type HardState, type Snapshot } from "../raft/index";
import { withAdvice } from "./advice";
import { CodecError, encodableEntry, FORMAT_VERSION, type SegmentHead } from "./entry_codec";
import { damaged, DataDirError, gap, invariant, ioError, newerFormat } from "./errors";
import type { DirLock, FileStat, FsError, StorageFile, StorageFs } from "./fs";
import { call, run } from "./fs_calls";
import { initialFill, resolveWalOptions, type WalOptions } from "./options";
import { encodeRecord, hardStateRecord, markRecord, recordBytes, type PendingRecord } from "./pending";
import { RecordReader, RecordType, type RecordEncoder } from "./record";
import { readFile, reading, readNames } from "./recovery";
import { createSegment, decodeHeadPayload, joinPath, segmentName, segmentSequence } from "./segment";
import { encodeSnapshotFile, snapshotName } from "./snapshot_store";
import type { Identity } from "./storage";

const MEMBER_DIR = "member";
const UNFINISHED_DIR = "member.tmp";
const REMOVED_FILE = "REMOVED";
/** Upper bound of the size of a segment's head record. */
const HEAD_BYTES = 1024;

/** When and why a member was removed. */
interface RemovedMark {
  /** Revision of the removal, 0 when unknown. */
  readonly revision: number;
  /** Explanation for the operator, one line. */
  readonly text: string;
}

type DataDirState =
  /** The directory does not exist. */
  | "absent"
  /** The directory holds no member's data, or only unfinished data: a member can be created in it. */
  | "empty"
  | { readonly identity: Identity; readonly removed: RemovedMark | null };

export function memberDir(dir: string): string {
  return joinPath(dir, MEMBER_DIR);
}

function stat(fs: StorageFs, path: string): Promise<FileStat | null> {
  return reading(
    path,
    call<FileStat | null>((done) => {
      fs.stat(path, done);
    }),
  );
}

function syncDir(fs: StorageFs, path: string): Promise<void> {
  return reading(
    path,
    run((done) => {
      fs.syncDir(path, done);
    }),
  );
}

/** @throws DataDirError "absent" unless the directory holds a member's data */
export async function requireMember(fs: StorageFs, dir: string): Promise<void> {
  if ((await stat(fs, memberDir(dir))) === null) {
    throw new DataDirError("absent", dir, null, `${dir} does not hold a member's data.`);
  }
}

/** Takes the directory's lock. @throws DataDirError "in-use" while another process has the lock */
export async function lockDir(fs: StorageFs, dir: string): Promise<DirLock> {
  try {
    return await call<DirLock>((done) => {
      fs.lock(dir, done);
    });
  } catch (error) {
    const fsError = error as FsError;
    if (fsError.code !== "EBUSY") throw ioError(dir, fsError);
    throw new DataDirError(
      "in-use",
      dir,
      null,
      `${dir} is in use by another process: stop it, or give this member a data directory of its own.`,
    );
  }
}

export function releaseLock(lock: DirLock): Promise<void> {
  return run((done) => {
    lock.release(done);
  });
}

/** Creates a directory and its missing parents, each durable in its parent. */
async function makeDirs(fs: StorageFs, dir: string): Promise<void> {
  const found = await stat(fs, dir);
  if (found !== null) {
    if (found.directory) return;
    throw new DataDirError("io", dir, null, `${dir} is not a directory.`, "ENOTDIR");
  }
  const parent = parentOf(dir);
  if (parent !== dir) await makeDirs(fs, parent);
  await reading(
    dir,
    run((done) => {
      fs.mkdir(dir, done);
    }),
  );
  try {
    await syncDir(fs, parent);
  } catch (error) {
    // A directory that exists is not synced by the next try, so this one is removed again.
    await run((done) => {
      fs.rmdir(dir, () => {
        done(null);
      });
    });
    throw error;
  }
}

function parentOf(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  const slash = trimmed.lastIndexOf("/");
  if (slash === -1) return ".";
  return slash === 0 ? "/" : trimmed.slice(0, slash);
}

/** Deletes the directory of an interrupted creation, which contains only files. */
async function removeUnfinished(fs: StorageFs, dir: string): Promise<void> {
  const unfinished = joinPath(dir, UNFINISHED_DIR);
  if ((await stat(fs, unfinished)) === null) return;
  for (const name of await readNames(fs, unfinished)) {
    const path = joinPath(unfinished, name);
    await reading(
      path,
      run((done) => {
        fs.unlink(path, done);
      }),
    );
  }
  await reading(
    unfinished,
    run((done) => {
      fs.rmdir(unfinished, done);
    }),
  );
}

/** The first entries of a new member's log. */
interface InitialLog {
  /** Consecutive, from index 1 on. */
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
}

/**
 * Creates a member's data directory, durable when the promise resolves. After an interruption readDataDirState returns
 * "absent" or "empty".
 * @param initial the bootstrap entries and a hard state that commits them; omitted for a member that joins
 * @throws DataDirError "exists", "in-use", "removed" or "io"
 */
export async function createDataDir(
  fs: StorageFs,
  dir: string,
  identity: Identity,
  initial?: InitialLog,
  options: WalOptions = {},
): Promise<void> {
  const hardState = initial?.hardState ?? EMPTY_HARD_STATE;
  const records: PendingRecord[] = (initial?.entries ?? []).map((entry) => ({
    kind: "entry",
    encodable: encodableEntry(entry),
  }));
  invariant(
    hardState.commit <= records.length,
    `commit ${hardState.commit} beyond ${records.length} entries`,
  );
  if (records.length > 0) records.push(hardStateRecord(hardState));
  const head = { identity, sequence: 1, nextIndex: 1, hardState: { ...hardState, commit: 0 } };
  await makeDataDir(fs, dir, (unfinished) => writeFirstSegment(fs, unfinished, head, records, options));
}

/**
 * Like createDataDir, for a member that starts from a snapshot: its log begins after the snapshot's index. The hard state
 * has the snapshot's term and no vote.
 * @throws DataDirError "exists", "in-use", "removed" or "io"
 */
export async function createDataDirFromSnapshot(
  fs: StorageFs,
  dir: string,
  identity: Identity,
  snapshot: Snapshot,
  options: WalOptions = {},
): Promise<void> {
  const { index, term } = snapshot.meta;
  invariant(index > 0 && term > 0, `a snapshot at ${index} of term ${term}`);
  const hardState = { term, vote: NO_NODE, commit: index };
  const head = { identity, sequence: 1, nextIndex: index + 1, hardState };
  await makeDataDir(fs, dir, async (unfinished) => {
    const file = joinPath(unfinished, snapshotName(index, term));
    await writeDurably(fs, unfinished, file, encodeSnapshotFile(identity, snapshot));
    await writeFirstSegment(fs, unfinished, head, [markRecord({ index, term, installed: true })], options);
  });
}

/** Creates the directory. `fill` writes its contents under a temporary name. */
async function makeDataDir(
  fs: StorageFs,
  dir: string,
  fill: (unfinished: string) => Promise<void>,
): Promise<void> {
  await makeDirs(fs, dir);
  const lock = await lockDir(fs, dir);
  try {
    const member = memberDir(dir);
    if ((await stat(fs, joinPath(dir, REMOVED_FILE))) !== null)
      throw removedError(dir, await readRemoved(fs, dir));
    if ((await stat(fs, member)) !== null) {
      throw new DataDirError("exists", dir, null, `${dir} already holds a member's data.`);
    }
    await removeUnfinished(fs, dir);
    const unfinished = joinPath(dir, UNFINISHED_DIR);
    await reading(
      unfinished,
      run((done) => {
        fs.mkdir(unfinished, done);
      }),
    );
    await fill(unfinished);
    await reading(
      member,
      run((done) => {
        fs.rename(unfinished, member, done);
      }),
    );
    try {
      await syncDir(fs, dir);
    } catch (error) {
      // Whether the name is on the disk is unknown, and a later sync could not tell: the creation is taken back.
      await run((done) => {
        fs.rename(member, unfinished, () => {
          done(null);
        });
      });
      throw error;
    }
  } finally {
    await releaseLock(lock);
  }
}

function writeFirstSegment(
  fs: StorageFs,
  dir: string,
  head: SegmentHead,
  records: readonly PendingRecord[],
  options: WalOptions,
): Promise<void> {
  const more = (encoder: RecordEncoder): void => {
    for (const record of records) encodeRecord(encoder, record);
  };
  const bytes = records.reduce((sum, record) => sum + recordBytes(record), HEAD_BYTES);
  const fill = initialFill(resolveWalOptions(options), bytes);
  return new Promise((resolve, reject) => {
    createSegment(fs, dir, head, 0, fill, more, (error, segment) => {
      if (segment === null) {
        const message = error?.message ?? "unknown error";
        reject(new DataDirError("io", error?.file ?? dir, null, message, error?.errno ?? ""));
        return;
      }
      segment.file.close((closeError) => {
        if (closeError !== null) reject(ioError(segment.path, closeError));
        else resolve();
      });
    });
  });
}

/**
 * Reads which member a data directory belongs to. Takes no lock and changes nothing.
 * @throws DataDirError "damage", "gap", "newer-format" or "io"
 */
export async function readDataDirState(fs: StorageFs, dir: string): Promise<DataDirState> {
  try {
    return await readState(fs, dir);
  } catch (error) {
    throw withAdvice(error, null);
  }
}

async function readState(fs: StorageFs, dir: string): Promise<DataDirState> {
  const found = await stat(fs, dir);
  if (found === null) return "absent";
  if (!found.directory) throw new DataDirError("io", dir, null, `${dir} is not a directory.`, "ENOTDIR");
  const member = memberDir(dir);
  if ((await stat(fs, member)) === null) return "empty";
  const sequences = (await readNames(fs, member)).map(segmentSequence).filter((s) => s !== null);
  if (sequences.length === 0) throw gap(member, null, "there is no segment of the log");
  const path = joinPath(member, segmentName(Math.min(...sequences)));
  const read = new RecordReader(await readFile(fs, path)).next();
  if (read.kind !== "record" || read.type !== RecordType.SegmentHead) {
    throw damaged(path, 0, "it does not begin with a head");
  }
  try {
    const { formatVersion, clusterId, memberId, instanceId } = decodeHeadPayload(read.payload).head.identity;
    if (formatVersion > FORMAT_VERSION) throw newerFormat(path, formatVersion);
    return { identity: { clusterId, memberId, instanceId }, removed: await readRemoved(fs, dir) };
  } catch (error) {
    if (error instanceof CodecError) throw damaged(path, 0, error.message);
    throw error;
  }
}

async function readRemoved(fs: StorageFs, dir: string): Promise<RemovedMark | null> {
  const path = joinPath(dir, REMOVED_FILE);
  if ((await stat(fs, path)) === null) return null;
  const text = Buffer.from(await readFile(fs, path)).toString("utf8");
  // The first line is "revision N", the rest is for people. A file with other contents is a mark too.
  const [first = "", ...rest] = text.split("\n");
  const revision = Number(/^revision (\d+)$/.exec(first)?.[1] ?? 0);
  return { revision, text: rest.join("\n").trim() };
}

function removedError(dir: string, mark: RemovedMark | null): DataDirError {
  const when = mark === null || mark.revision === 0 ? "" : ` at revision ${mark.revision}`;
  return new DataDirError(
    "removed",
    joinPath(dir, REMOVED_FILE),
    null,
    `${dir} belongs to a member that was removed from its cluster${when}; it does not start again. Add a new member ` +
      "with an empty data directory.",
  );
}

/** @throws DataDirError "removed" when the directory is marked */
export async function refuseRemoved(fs: StorageFs, dir: string): Promise<void> {
  const mark = await readRemoved(fs, dir);
  if (mark !== null) throw removedError(dir, mark);
}

/** Marks the member as removed, durable when the promise resolves. The storage may be open meanwhile. */
export async function markRemoved(fs: StorageFs, dir: string, mark: RemovedMark): Promise<void> {
  const path = joinPath(dir, REMOVED_FILE);
  const bytes = Buffer.from(`revision ${mark.revision}\n${mark.text}\n`, "utf8");
  await writeDurably(fs, dir, path, bytes);
}

/** Writes a small file under a temporary name, syncs and renames it. @throws DataDirError "io" */
export async function writeDurably(
  fs: StorageFs,
  dir: string,
  path: string,
  bytes: Uint8Array,
): Promise<void> {
  const temporary = `${path}.tmp`;
  const work = async (): Promise<void> => {
    const file = await call<StorageFile>((done) => {
      fs.open(temporary, "create", done);
    });
    try {
      await run((done) => {
        file.write(bytes, 0, done);
      });
      await run((done) => {
        file.sync(done);
      });
    } finally {
      await run((done) => {
        file.close(done);
      });
    }
    await run((done) => {
      fs.rename(temporary, path, done);
    });
    await run((done) => {
      fs.syncDir(dir, done);
    });
  };
  await reading(path, work());
}
