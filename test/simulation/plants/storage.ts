/** Planted bugs: the log on disk and its recovery. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const WRITER = "storage/log_writer.ts";
const WAL_STORAGE = "storage/wal_storage.ts";

export const STORAGE_PLANTS: readonly Plant[] = [
  plant(
    "vote-not-synced",
    "a vote is written but not synced",
    WAL_STORAGE,
    "return { records, mustSync: true };",
    "return { records, mustSync: snapshot !== null || entries.length > 0 };",
  ),
  plant(
    "entries-not-synced",
    "entries are written but not synced",
    WAL_STORAGE,
    "return { records, mustSync: true };",
    "return { records, mustSync: voted || snapshot !== null };",
  ),
  plant(
    "term-without-vote",
    "the term is saved without the vote",
    WAL_STORAGE,
    "if (!sameState(next, written)) records.push(hardStateRecord(next));",
    "if (!sameState(next, written)) records.push(hardStateRecord({ ...next, vote: 0n }));",
  ),
  plant(
    "acknowledged-before-sync",
    "a batch is acknowledged once it is written, before its sync",
    WRITER,
    "if (!mustSync || !this.unsynced) {",
    "if (!mustSync || !this.unsynced || mustSync) {",
  ),
  plant(
    "failed-sync-ignored",
    "a failed sync counts as done",
    WRITER,
    "        if (error === null) this.unsynced = false;\n        finish(error);",
    "        this.unsynced = false;\n        finish(error === null ? null : null);",
  ),
  plant(
    "snapshot-directory-not-synced",
    "the directory is not synced after a snapshot's rename",
    "storage/snapshot_store.ts",
    "this.fs.syncDir(this.dir, next);",
    "next(null);",
  ),
  plant(
    "segment-directory-not-synced",
    "the directory is not synced after a segment's rename",
    "storage/segment.ts",
    "fs.syncDir(dir, finalOnError(next));",
    "next(null);",
  ),
  plant(
    "snapshot-not-synced",
    "a snapshot's file is renamed without a sync of its data",
    "storage/snapshot_store.ts",
    "file.sync(next);",
    "next(null);",
  ),
  plant(
    "checksum-not-compared",
    "a record whose checksum does not fit is taken",
    "storage/record.ts",
    "if (crc !== header.crc || !this.padded(payloadEnd, end)) {",
    "if (!this.padded(payloadEnd, end)) {",
  ),
  plant(
    "damage-taken-for-a-torn-tail",
    "any damaged record is treated as a torn tail, and the log is cut there",
    "storage/record.ts",
    'if (!torn) return { kind: "damage", at, what };',
    "",
  ),
];
