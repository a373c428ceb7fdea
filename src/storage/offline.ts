/**
 * Reads a data directory without opening it: for `muster wal inspect`, `muster wal verify` and tests. Takes no lock and
 * changes nothing. While the member runs, the result is the state of the log at some moment of the read.
 */
import type { ConfState, Entry, HardState, Snapshot } from "../raft/index";
import { memberDir, requireMember } from "./data_dir";
import type { StorageFs } from "./fs";
import { nodeFs } from "./node_fs";
import { readLog, type DamagedSnapshot, type SegmentSummary, type TornTail } from "./recovery";
import type { SnapshotFile } from "./snapshot_store";
import type { Identity } from "./storage";

interface OfflineReport {
  readonly segments: readonly SegmentSummary[];
  /** Intact snapshots, newest first. */
  readonly snapshots: readonly SnapshotFile[];
  readonly tornTail: TornTail | null;
  readonly damagedSnapshots: readonly DamagedSnapshot[];
  /** Names of files that opening the directory would delete. */
  readonly leftovers: readonly string[];
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly bytesSinceSnapshot: number;
}

export interface OfflineLog {
  readonly identity: Identity;
  readonly snapshot: Snapshot | null;
  readonly confState: ConfState;
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
  readonly report: OfflineReport;
}

/** @throws DataDirError as openStorage does, except for the reasons "in-use" and "removed" */
export async function readLogOffline(dir: string, fs: StorageFs = nodeFs): Promise<OfflineLog> {
  await requireMember(fs, dir);
  const log = await readLog(fs, memberDir(dir));
  return {
    identity: log.identity,
    snapshot: log.snapshot,
    confState: log.confState,
    entries: log.entries,
    hardState: log.hardState,
    report: {
      segments: log.segments,
      snapshots: log.snapshots,
      tornTail: log.tornTail,
      damagedSnapshots: log.damagedSnapshots,
      leftovers: log.leftovers,
      firstIndex: log.base.index + 1,
      lastIndex: log.base.index + log.entries.length,
      bytesSinceSnapshot: log.bytesSinceSnapshot,
    },
  };
}
