/**
 * Opens a member's data directory: lock, recovery, repair of a torn tail, and the storage behind it.
 *
 * Whatever is wrong with a directory is a DataDirError that tells an operator what and where; nothing is repaired but
 * a torn tail, whose bytes are kept beside.
 */
import { lockDir, memberDir, refuseRemoved, releaseLock, requireMember, writeDurably } from "./data_dir";
import { DataDirError, isNoSpace } from "./errors";
import { call, run, type StorageFile, type StorageFs } from "./fs";
import type { WalOptions } from "./options";
import { readLog, reading, type DamagedSnapshot, type RecoveredLog, type TornTail } from "./recovery";
import { joinPath, writeZeros } from "./segment";
import type { Identity, Storage } from "./storage";
import { WalStorage } from "./wal_storage";

export interface OpenOptions extends WalOptions {
  /** Whose directory it must be; what is not given is not checked. */
  readonly expectedIdentity?: Partial<Identity>;
  /** The log ended in a write that a power loss cut short; it was cut off. */
  readonly onTornTail?: (tornTail: RepairedTail) => void;
  /** A snapshot file is bad; an older one and the log took its place, nothing is lost. */
  readonly onDamagedSnapshot?: (snapshot: DamagedSnapshot) => void;
}

export interface RepairedTail extends TornTail {
  /** The file that keeps the bytes that were cut off, or null when there was no space for it. */
  readonly keptAs: string | null;
}

export interface OpenReport {
  readonly tornTail: RepairedTail | null;
  readonly damagedSnapshots: readonly DamagedSnapshot[];
  /** Entries held in memory. */
  readonly entries: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** 0 without one. */
  readonly snapshotIndex: number;
  readonly segments: number;
}

/** @throws DataDirError when the directory is not the expected member's */
function checkIdentity(dir: string, found: Identity, expected: Partial<Identity>): void {
  const refuse = (reason: "other-cluster" | "other-member" | "other-instance", what: string): never => {
    throw new DataDirError(reason, dir, null, `${dir} ${what}. Check data-dir in the configuration.`);
  };
  if (expected.clusterId !== undefined && expected.clusterId !== found.clusterId) {
    const [has, wanted] = [found.clusterId.toString(16), expected.clusterId.toString(16)];
    refuse("other-cluster", `belongs to cluster ${has}, not to ${wanted}`);
  }
  if (expected.memberId !== undefined && expected.memberId !== found.memberId) {
    const [has, wanted] = [found.memberId.toString(16), expected.memberId.toString(16)];
    refuse("other-member", `belongs to member ${has}, not to ${wanted}`);
  }
  if (expected.instanceId !== undefined && !Buffer.from(expected.instanceId).equals(found.instanceId)) {
    refuse("other-instance", "was made anew since: it is another instance of the member");
  }
}

/** Keeps the torn bytes beside; without space for them, goes on without. */
async function keepTorn(
  fs: StorageFs,
  dir: string,
  torn: TornTail,
  bytes: Uint8Array,
): Promise<string | null> {
  const path = `${torn.file}-${torn.offset}.torn`;
  try {
    await writeDurably(fs, dir, path, bytes);
    return path;
  } catch (error) {
    if (error instanceof DataDirError && isNoSpace(Object.assign(new Error(), { code: error.errno })))
      return null;
    throw error;
  }
}

interface OpenedTail {
  readonly file: StorageFile;
  readonly repaired: RepairedTail | null;
}

/**
 * Cuts a torn tail, removes what unfinished work left, and syncs what was read: after a killed process the records
 * may so far be in the operating system's memory only.
 */
async function repair(fs: StorageFs, dir: string, log: RecoveredLog): Promise<OpenedTail> {
  const { path } = log.tail;
  let repaired: RepairedTail | null = null;
  if (log.tornTail !== null) {
    const keptAs = await keepTorn(fs, dir, log.tornTail, log.tornBytes ?? new Uint8Array());
    repaired = { ...log.tornTail, keptAs };
  }
  const work = async (): Promise<StorageFile> => {
    const file = await call<StorageFile>((done) => {
      fs.open(path, "write", done);
    });
    try {
      if (log.tornTail !== null) {
        const { offset, bytes } = log.tornTail;
        await run((done) => {
          writeZeros(file, offset, offset + bytes, done);
        });
      }
      await run((done) => {
        file.sync(done);
      });
    } catch (error) {
      file.close(() => undefined);
      throw error;
    }
    return file;
  };
  const file = await reading(path, work());
  for (const name of log.leftovers) {
    // What cannot be deleted is only space.
    await run((done) => {
      fs.unlink(joinPath(dir, name), () => {
        done(null);
      });
    });
  }
  await reading(
    dir,
    run((done) => {
      fs.syncDir(dir, done);
    }),
  );
  return { file, repaired };
}

/**
 * Opens a member's data directory: takes its lock, reads snapshot and log, cuts a torn tail.
 * @throws DataDirError, with what an operator needs to know
 */
export async function openStorage(
  fs: StorageFs,
  dir: string,
  options: OpenOptions = {},
): Promise<{ storage: Storage; report: OpenReport }> {
  const member = memberDir(dir);
  await requireMember(fs, dir);
  await refuseRemoved(fs, dir);
  const lock = await lockDir(fs, dir);
  try {
    const log = await readLog(fs, member);
    checkIdentity(dir, log.identity, options.expectedIdentity ?? {});
    const { file, repaired } = await repair(fs, member, log);
    if (repaired !== null) options.onTornTail?.(repaired);
    for (const snapshot of log.damagedSnapshots) options.onDamagedSnapshot?.(snapshot);
    const storage = new WalStorage(fs, member, log, file, options, lock);
    const report: OpenReport = {
      tornTail: repaired,
      damagedSnapshots: log.damagedSnapshots,
      entries: log.entries.length,
      firstIndex: storage.firstIndex(),
      lastIndex: storage.lastIndex(),
      snapshotIndex: log.snapshot?.meta.index ?? 0,
      segments: log.segments.length,
    };
    return { storage, report };
  } catch (error) {
    await releaseLock(lock);
    throw error;
  }
}
