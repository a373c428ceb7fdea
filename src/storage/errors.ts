/**
 * Reasons why a data directory cannot be used, and the conversion of file-system errors to StorageError.
 *
 * A DataDirError is written for an operator: its message names the file and the offset and says what to do. It is thrown
 * only until a directory is open. From then on callers get a StorageError.
 */
import { StorageError } from "./storage";
import type { FsError } from "./fs";

type DataDirErrorReason =
  /** The directory does not exist or holds no member's data. */
  | "absent"
  /** createDataDir: the directory already holds a member's data. */
  | "exists"
  /** Another process has it open. */
  | "in-use"
  /** The bytes on disk differ from the bytes that were written. */
  | "damage"
  /** A required part of the log is missing. */
  | "gap"
  /** The commit index is beyond the last entry: acknowledged entries are lost. */
  | "hard-state-beyond-log"
  /** The directory belongs to another cluster. */
  | "other-cluster"
  /** The directory belongs to another member. */
  | "other-member"
  /** The directory belongs to the right member but was created again since. */
  | "other-instance"
  /** Written by a newer version of this program. */
  | "newer-format"
  /** The member was removed from its cluster and must not start again. */
  | "removed"
  /** An operation of the operating system failed: see `errno`. */
  | "io";

export class DataDirError extends Error {
  constructor(
    readonly reason: DataDirErrorReason,
    /** The file or directory with the problem. */
    readonly file: string,
    /** Byte offset of the problem in that file; null for a problem of the whole file or directory. */
    readonly offset: number | null,
    message: string,
    /** The operating system's code (EACCES, ENOSPC, ...) for reason "io"; empty for other reasons. */
    readonly errno = "",
  ) {
    super(message);
    this.name = "DataDirError";
  }
}

/** What to do about EMFILE and ENFILE. */
export const RAISE_LIMIT =
  "Too many files and connections are open: raise the limit (ulimit -n, LimitNOFILE in a systemd unit) or close connections";

/** The bytes at `offset` differ from the bytes that were written. */
export function damaged(file: string, offset: number, what: string): DataDirError {
  return new DataDirError("damage", file, offset, `${file} is damaged at byte ${offset}: ${what}.`);
}

/** A required part of the log is missing. `offset` null: the whole file. */
export function gap(file: string, offset: number | null, what: string): DataDirError {
  const where = offset === null ? file : `${file} at byte ${offset}`;
  return new DataDirError("gap", file, offset, `The log has a gap: ${where}: ${what}.`);
}

export function hardStateBeyondLog(file: string, offset: number, commit: number, last: number): DataDirError {
  return new DataDirError(
    "hard-state-beyond-log",
    file,
    offset,
    `${file} at byte ${offset}: the commit index is ${commit} but the log ends at ${last}: acknowledged entries are ` +
      "missing.",
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
  return new DataDirError("io", file, null, `${file}: ${error.message}${hintFor(error)}`, errno);
}

/*
 * What is final for an open log, and what is not:
 *
 * | failed operation                | no space (ENOSPC, EDQUOT)      | no descriptor (EMFILE, ENFILE) | any other error |
 * | ------------------------------- | ------------------------------ | ------------------------------ | --------------- |
 * | create a segment, extend one    | tried again; proposals refused | tried again                    | final           |
 * | create a snapshot               | the snapshot is taken later    | tried again                    | final           |
 * | write records                   | final                          | does not happen                | final           |
 * | sync a file                     | final                          | does not happen                | final           |
 * | sync a directory                | final                          | tried again: it was not opened | final           |
 * | delete a file                   | ignored: it only takes space   | does not happen                | ignored         |
 *
 * Final: nothing is acknowledged any more, the member ends, and the sync is never tried again. "Tried again" for
 * descriptors is patient_fs.ts. While a directory is being opened every error refuses the start.
 */

function hintFor(error: FsError): string {
  return isNoDescriptor(error) ? `. ${RAISE_LIMIT}` : "";
}

/** Whether the disk is full or the quota is used up. */
export function isNoSpace(error: FsError): boolean {
  return error.code === "ENOSPC" || error.code === "EDQUOT";
}

/** Whether the process, or the whole system, has too many open files. The operation has not begun then. */
export function isNoDescriptor(error: FsError): boolean {
  return error.code === "EMFILE" || error.code === "ENFILE";
}

export function finalIoError(file: string, error: FsError): StorageError {
  const errno = error.code ?? "";
  return new StorageError(
    "io",
    file,
    errno,
    `storage failed for good: ${file}: ${error.message}${hintFor(error)}`,
  );
}

export function diskFullError(file: string, error: FsError): StorageError {
  return new StorageError("disk-full", file, error.code ?? "ENOSPC", `no space: ${file}: ${error.message}`);
}

export function closedError(): StorageError {
  return new StorageError("closed", "", "", "the storage is closed");
}

/** A broken invariant of storage. The cause is a defect of storage or of its caller, never bad input. */
export class StorageInvariantError extends Error {
  override readonly name = "StorageInvariantError";
}

/** @throws StorageInvariantError unless `condition` holds */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new StorageInvariantError(message);
}
