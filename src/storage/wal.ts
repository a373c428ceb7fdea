/**
 * Opens a member's data directory: takes its lock, reads snapshot and log, cuts off a torn tail, and creates the storage.
 *
 * Every problem of a directory is a DataDirError that tells an operator what is wrong and where. The only repair is to cut
 * off a torn tail; its bytes are saved to a file first.
 */
import { lockDir, memberDir, refuseRemoved, releaseLock, requireMember, writeDurably } from "./data_dir";
import { DataDirError, isNoSpace } from "./errors";
import type { StorageFile, StorageFs } from "./fs";
import { call, run } from "./fs_calls";
import type { WalOptions } from "./options";
import { readLog, reading, type DamagedSnapshot, type RecoveredLog, type TornTail } from "./recovery";
import { joinPath, writeZeros } from "./segment";
import type { Identity, Storage } from "./storage";
import { WalStorage } from "./wal_storage";

export interface OpenOptions extends WalOptions {
  /**
   * The identity that the directory must have. Fields that are left out are not checked. Give all that is known: it keeps
   * a member from starting on the data of another one after a mistake in the configuration.
   * @default nothing is checked
   */
  readonly expectedIdentity?: Partial<Identity>;
  /**
   * Called when the log ended in a write that reached the disk only in part, after that write was cut off. Give it to
   * report the repair.
   * @default the repair is only in the OpenReport
   */
  readonly onTornTail?: (tornTail: RepairedTail) => void;
  /**
   * Called for each damaged snapshot that an older one and the log replaced. No data is lost, but an operator should
   * learn of it: a second damage can lose data.
   * @default the damage is only in the OpenReport
   */
  readonly onDamagedSnapshot?: (snapshot: DamagedSnapshot) => void;
}

interface RepairedTail extends TornTail {
  /** The file with the bytes that were cut off, or null when the disk had no space for it. */
  readonly keptAs: string | null;
}

export interface OpenReport {
  readonly tornTail: RepairedTail | null;
  readonly damagedSnapshots: readonly DamagedSnapshot[];
  /** Number of entries in memory. */
  readonly entries: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** 0 without a snapshot. */
  readonly snapshotIndex: number;
  /** Number of segments. */
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

/** Saves the bytes of a torn tail to a file. @returns its path, or null when the disk has no space for it */
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
 * Cuts off a torn tail, deletes files of unfinished work, and syncs the log: after a killed process its last records
 * may exist only in the memory of the operating system.
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
    // A file that cannot be deleted only takes space.
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
 * Opens a member's data directory. The lock is held until the storage is closed.
 * @throws DataDirError with a message for the operator
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
