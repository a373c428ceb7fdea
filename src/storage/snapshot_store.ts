/**
 * Snapshot files. Each snapshot is one file: written under a temporary name, synced and renamed, then the directory is
 * synced. The newest two are kept: when the newest is damaged, the older one and the log after it give the same state.
 *
 * A snapshot is acknowledged only after the log contains a mark for it. So a file without a mark is ignored, although
 * it is complete. docs/formats/wal.md describes the bytes.
 */
import { asBuffer } from "../base/bytes";
import { chainCrc } from "./crc";
import type { Snapshot } from "../raft/index";
import { decodeSnapshotHead, encodeSnapshotHead, FORMAT_VERSION } from "./entry_codec";
import { damaged, diskFullError, finalIoError, isNoSpace, newerFormat, type DataDirError } from "./errors";
import type { FsDone, FsError, StorageFile, StorageFs } from "./fs";
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
  const { bytes, crc } = encodeFileHead(head);
  const trailer = Buffer.alloc(TRAILER_BYTES);
  trailer.writeUInt32LE(chainCrc(snapshot.data, crc), 0);
  return Buffer.concat([bytes, snapshot.data, trailer]);
}

/** What stands before the data, and its checksum, from which that of the data goes on. */
function encodeFileHead(head: Uint8Array): { readonly bytes: Buffer; readonly crc: number } {
  const bytes = Buffer.alloc(PREFIX_BYTES + head.length);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt32LE(head.length, 8);
  bytes.set(head, PREFIX_BYTES);
  const crc = chainCrc(head, chainCrc(bytes.subarray(0, 12)));
  bytes.writeUInt32LE(crc, 12);
  return { bytes, crc };
}

/** Size of one write of a snapshot's file, in bytes: what one turn of the event loop adds to the checksum. */
const PART_BYTES = 4 * 1024 * 1024;

/** The bytes of encodeSnapshotFile in parts: a large state is not copied whole, and not checksummed in one turn. */
function* snapshotFileParts(identity: Identity, snapshot: Snapshot): Generator<Buffer, undefined> {
  const { data } = snapshot;
  if (data.length <= PART_BYTES) {
    yield encodeSnapshotFile(identity, snapshot);
    return;
  }
  const head = encodeFileHead(encodeSnapshotHead({ identity, meta: snapshot.meta, sizeBytes: data.length }));
  yield head.bytes;
  let crc = head.crc;
  for (let at = 0; at < data.length; at += PART_BYTES) {
    const part = asBuffer(data.subarray(at, at + PART_BYTES));
    crc = chainCrc(part, crc);
    yield part;
  }
  const trailer = Buffer.alloc(TRAILER_BYTES);
  trailer.writeUInt32LE(crc, 0);
  yield trailer;
}

/** Writes the parts one after another, each encoded when the one before it is written. */
function writeParts(file: StorageFile, parts: Iterator<Buffer, undefined>, done: FsDone): void {
  let position = 0;
  const next = (): void => {
    const given = parts.next();
    if (given.done === true) {
      done(null);
      return;
    }
    const part = given.value;
    file.write(part, position, (error) => {
      position += part.length;
      if (error !== null) done(error);
      else next();
    });
  };
  next();
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
      writeParts(file, snapshotFileParts(this.identity, snapshot), (writeError) => {
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
