/**
 * Snapshot files. Each snapshot is one file: written under a temporary name, synced and renamed, then the directory is
 * synced. The newest two are kept: when the newest is damaged, the older one and the log after it give the same state.
 *
 * A snapshot is acknowledged only after the log contains a mark for it. So a file without a mark is ignored, although
 * it is complete. docs/formats/wal.md describes the bytes.
 */
import { chainCrc } from "./crc";
import type { Snapshot } from "../raft/index";
import { decodeSnapshotHead, encodeSnapshotHead, FORMAT_VERSION } from "./entry_codec";
import { damaged, diskFullError, finalIoError, isNoSpace, newerFormat, type DataDirError } from "./errors";
import type { FsError, StorageFs } from "./fs";
import { series } from "./fs_calls";
import { joinPath } from "./segment";
import type { Identity, StorageCallback } from "./storage";

/** "MUSTSNAP" */
const MAGIC = Buffer.from("MUSTSNAP", "latin1");
/** Magic, length of the head, and the CRC of all three: magic, length, head. */
const PREFIX_BYTES = 16;
const TRAILER_BYTES = 4;
const SNAPSHOT_NAME = /^(\d{16})-(\d{16})\.snap$/;
const NAME_DIGITS = 16;

/** Number of snapshots that are kept. */
const SNAPSHOTS_KEPT = 2;

export interface SnapshotFile {
  readonly name: string;
  readonly index: number;
  readonly term: number;
}

export function snapshotName(index: number, term: number): string {
  return `${String(index).padStart(NAME_DIGITS, "0")}-${String(term).padStart(NAME_DIGITS, "0")}.snap`;
}

/** Index and term from a snapshot's file name, or null for other names. */
export function parseSnapshotName(name: string): SnapshotFile | null {
  const match = SNAPSHOT_NAME.exec(name);
  return match === null ? null : { name, index: Number(match[1]), term: Number(match[2]) };
}

export function encodeSnapshotFile(identity: Identity, snapshot: Snapshot): Buffer {
  const head = encodeSnapshotHead({ identity, meta: snapshot.meta, sizeBytes: snapshot.data.length });
  const file = Buffer.alloc(PREFIX_BYTES + head.length + snapshot.data.length + TRAILER_BYTES);
  MAGIC.copy(file, 0);
  file.writeUInt32LE(head.length, 8);
  file.set(head, PREFIX_BYTES);
  const headCrc = chainCrc(head, chainCrc(file.subarray(0, 12)));
  file.writeUInt32LE(headCrc, 12);
  file.set(snapshot.data, PREFIX_BYTES + head.length);
  file.writeUInt32LE(chainCrc(snapshot.data, headCrc), file.length - TRAILER_BYTES);
  return file;
}

interface DecodedSnapshotFile {
  readonly identity: Identity;
  readonly snapshot: Snapshot;
}

/** @returns the snapshot, or an error that describes the damage */
export function decodeSnapshotFile(path: string, bytes: Uint8Array): DecodedSnapshotFile | DataDirError {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (file.length < PREFIX_BYTES + TRAILER_BYTES)
    return damaged(path, file.length, "the file ends inside its head");
  if (!file.subarray(0, MAGIC.length).equals(MAGIC))
    return damaged(path, 0, "it does not begin as a snapshot does");
  const headLength = file.readUInt32LE(8);
  const dataAt = PREFIX_BYTES + headLength;
  if (dataAt + TRAILER_BYTES > file.length) return damaged(path, 8, "the file ends inside its head");
  const headBytes = file.subarray(PREFIX_BYTES, dataAt);
  const headCrc = chainCrc(headBytes, chainCrc(file.subarray(0, 12)));
  if (headCrc !== file.readUInt32LE(12)) return damaged(path, 0, "its head does not match its checksum");
  try {
    const head = decodeSnapshotHead(headBytes);
    if (head.identity.formatVersion > FORMAT_VERSION) return newerFormat(path, head.identity.formatVersion);
    const data = file.subarray(dataAt, file.length - TRAILER_BYTES);
    if (data.length !== head.sizeBytes)
      return damaged(path, file.length, "its length is not what its head says");
    if (chainCrc(data, headCrc) !== file.readUInt32LE(file.length - TRAILER_BYTES)) {
      return damaged(path, dataAt, "its data do not match their checksum");
    }
    const { clusterId, memberId, instanceId } = head.identity;
    return { identity: { clusterId, memberId, instanceId }, snapshot: { meta: head.meta, data } };
  } catch (error) {
    return damaged(path, PREFIX_BYTES, error instanceof Error ? error.message : String(error));
  }
}

export class SnapshotStore {
  /** Ascending by index. */
  private files: SnapshotFile[];

  /** @param files the intact snapshots that have a mark in the log */
  constructor(
    private readonly fs: StorageFs,
    private readonly dir: string,
    private readonly identity: Identity,
    files: readonly SnapshotFile[],
  ) {
    this.files = [...files].sort((a, b) => a.index - b.index);
  }

  /**
   * Index of the second newest snapshot, or 0. The log on disk must continue from there, so that this snapshot can
   * replace a damaged newest one.
   */
  previousIndex(): number {
    return this.files.at(-2)?.index ?? 0;
  }

  /** Writes the file, durable when `done` is called. It is in use from `accept` on. Errors: "disk-full", "io". */
  write(snapshot: Snapshot, done: StorageCallback): void {
    const path = this.pathOf(snapshot);
    const temporary = `${path}.tmp`;
    let synced = false;
    const fail = (error: FsError): void => {
      this.fs.unlink(temporary, () => {
        done(isNoSpace(error) && !synced ? diskFullError(path, error) : finalIoError(path, error));
      });
    };
    this.fs.open(temporary, "create", (openError, file) => {
      if (openError !== null) {
        fail(openError);
        return;
      }
      file.write(encodeSnapshotFile(this.identity, snapshot), 0, (writeError) => {
        if (writeError !== null) {
          file.close(() => {
            fail(writeError);
          });
          return;
        }
        synced = true;
        series(
          [
            (next) => {
              file.sync(next);
            },
            (next) => {
              file.close(next);
            },
            (next) => {
              this.fs.rename(temporary, path, next);
            },
            (next) => {
              this.fs.syncDir(this.dir, next);
            },
          ],
          (error) => {
            if (error === null) done(null);
            else fail(error);
          },
        );
      });
    });
  }

  /** Call when the log contains a mark for this snapshot. Deletes all but the newest two snapshots. */
  accept(snapshot: Snapshot): void {
    const { index, term } = snapshot.meta;
    const name = snapshotName(index, term);
    this.files = this.files.filter((f) => f.name !== name);
    this.files.push({ name, index, term });
    this.files.sort((a, b) => a.index - b.index);
    // A file that cannot be deleted only takes space. The next opening deletes it.
    for (const old of this.files.splice(0, this.files.length - SNAPSHOTS_KEPT)) this.remove(old.name);
  }

  /** Deletes the file of a snapshot that was written but will not be accepted. */
  discard(snapshot: Snapshot): void {
    const name = snapshotName(snapshot.meta.index, snapshot.meta.term);
    if (!this.files.some((f) => f.name === name)) this.remove(name);
  }

  private remove(name: string): void {
    this.fs.unlink(joinPath(this.dir, name), () => undefined);
  }

  private pathOf(snapshot: Snapshot): string {
    return joinPath(this.dir, snapshotName(snapshot.meta.index, snapshot.meta.term));
  }
}
