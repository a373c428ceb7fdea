/**
 * Opens a member's data directory: takes its lock, reads snapshot and log, cuts off a torn tail, and creates the storage.
 *
 * Every problem of a directory is a DataDirError that tells an operator what is wrong and where. The only repair is to cut
 * off a torn tail; its bytes are saved to a file first. The end of the log is written again before anything of it counts.
 */
import { systemClock } from "../base/clock";
import { lockDir, memberDir, refuseRemoved, releaseLock, requireMember } from "./data_dir";
import { DataDirError } from "./errors";
import type { StorageFs } from "./fs";
import type { WalOptions } from "./options";
import { patientFs, type DescriptorShortage } from "./patient_fs";
import { readLog, type DamagedSnapshot } from "./recovery";
import type { Identity, Storage } from "./storage";
import { repairTail, type RepairedTail } from "./tail";
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
  /**
   * Called when the open log waits for a file descriptor, and when it got one. Give it to report the lack: the log stands
   * still meanwhile, and only an operator can raise the limit.
   * @default the lack is not reported
   */
  readonly onShortage?: (shortage: DescriptorShortage) => void;
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
  /** How much of the log's end was written again. Unit: bytes. */
  readonly rewrittenBytes: number;
  /** Where the directory's lock does not hold, for the log; null when it holds. */
  readonly lockWarning: string | null;
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
    const { file, repaired, rewrittenBytes } = await repairTail(fs, member, log);
    if (repaired !== null) options.onTornTail?.(repaired);
    for (const snapshot of log.damagedSnapshots) options.onDamagedSnapshot?.(snapshot);
    const shortage = options.onShortage ?? (() => undefined);
    const patient = patientFs(fs, options.clock ?? systemClock, shortage);
    const storage = new WalStorage(patient, member, log, file, options, lock);
    const report: OpenReport = {
      tornTail: repaired,
      damagedSnapshots: log.damagedSnapshots,
      entries: log.entries.length,
      firstIndex: storage.firstIndex(),
      lastIndex: storage.lastIndex(),
      snapshotIndex: log.snapshot?.meta.index ?? 0,
      segments: log.segments.length,
      rewrittenBytes,
      lockWarning: lock.warning ?? null,
    };
    return { storage, report };
  } catch (error) {
    await releaseLock(lock);
    throw error;
  }
}
