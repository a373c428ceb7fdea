/**
 * Why a data directory cannot be used, and helpers that turn file-system errors into StorageError.
 *
 * A DataDirError is an answer to an operator: it names the file and the offset and says what to do. It is never thrown
 * after a directory has been opened; from then on StorageError is what callers get.
 */
import { StorageError } from "./storage";
import type { FsError } from "./fs";

export type DataDirErrorReason =
  /** There is no such directory, or nothing of this service in it. */
  | "absent"
  /** createDataDir: it already holds a member's data. */
  | "exists"
  /** Another process has it open. */
  | "in-use"
  /** Bytes on disk are not what was written. */
  | "damage"
  /** A part of the log that must be there is missing. */
  | "gap"
  /** The commit index points past the last entry: acknowledged entries are gone. */
  | "hard-state-beyond-log"
  | "other-cluster"
  | "other-member"
  /** The same member, but another birth of its directory. */
  | "other-instance"
  /** Written by a newer version of this program. */
  | "newer-format"
  /** The member was removed from its cluster; its data must not come back. */
  | "removed"
  /** The operating system refused: see `errno`. */
  | "io";

export class DataDirError extends Error {
  constructor(
    readonly reason: DataDirErrorReason,
    /** The file or directory that is to blame. */
    readonly file: string,
    /** Byte offset in that file, or null where none applies. */
    readonly offset: number | null,
    message: string,
    /** The operating system's code for reason "io", else empty. */
    readonly errno = "",
  ) {
    super(message);
    this.name = "DataDirError";
  }
}

const REPLACE =
  "Do not repair it by hand: remove this member from the cluster and add it again with an empty data directory.";

/** Bytes that are not what was written. */
export function damaged(file: string, offset: number, what: string): DataDirError {
  return new DataDirError(
    "damage",
    file,
    offset,
    `${file} is damaged at byte ${offset}: ${what}. ${REPLACE}`,
  );
}

/** Something that must be there is missing. */
export function gap(file: string, offset: number | null, what: string): DataDirError {
  const where = offset === null ? file : `${file} at byte ${offset}`;
  return new DataDirError("gap", file, offset, `The log has a gap: ${where}: ${what}. ${REPLACE}`);
}

export function hardStateBeyondLog(file: string, offset: number, commit: number, last: number): DataDirError {
  return new DataDirError(
    "hard-state-beyond-log",
    file,
    offset,
    `${file} at byte ${offset}: the commit index is ${commit} but the log ends at ${last}: acknowledged entries are ` +
      `missing. ${REPLACE}`,
  );
}

export function newerFormat(file: string, version: number): DataDirError {
  return new DataDirError(
    "newer-format",
    file,
    null,
    `${file} has format version ${version}, which this version does not know. Start a newer version of muster.`,
  );
}

export function ioError(file: string, error: FsError): DataDirError {
  const errno = error.code ?? "";
  return new DataDirError("io", file, null, `${file}: ${error.message}`, errno);
}

/** Whether an error only says that there is no room: no space on the device, or the quota is used up. */
export function isNoSpace(error: FsError): boolean {
  return error.code === "ENOSPC" || error.code === "EDQUOT";
}

export function finalIoError(file: string, error: FsError): StorageError {
  const errno = error.code ?? "";
  return new StorageError("io", file, errno, `storage failed for good: ${file}: ${error.message}`);
}

export function diskFullError(file: string, error: FsError): StorageError {
  return new StorageError("disk-full", file, error.code ?? "ENOSPC", `no space: ${file}: ${error.message}`);
}

export function closedError(): StorageError {
  return new StorageError("closed", "", "", "the storage is closed");
}

/** A rule of this room does not hold: a defect of the caller or of this room, never bad input. */
export class StorageInvariantError extends Error {
  override readonly name = "StorageInvariantError";
}

/** @throws StorageInvariantError unless `condition` holds */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new StorageInvariantError(message);
}
