/**
 * The file system as storage needs it: a few operations, each asynchronous with a callback. node_fs.ts implements it on
 * Node's thread pool; the simulation and the fault tests have implementations of their own. Only node_fs.ts,
 * dir_lock.ts and socket_lock.ts call the operating system for a data directory.
 *
 * Contract of every implementation:
 * - a callback is called exactly once, and never before the call has returned;
 * - operations on one file, each started after the callback of the one before, take effect in that order;
 * - `write` writes all bytes or fails.
 */

/** The error of a failed operation; `code` is the operating system's (ENOSPC, EIO, ...). */
export interface FsError extends Error {
  readonly code?: string | undefined;
}

export type FsDone = (error: FsError | null) => void;
export type FsCallback<T> = (...result: [error: FsError, value: undefined] | [error: null, value: T]) => void;

export type OpenMode =
  /** An existing file, for reading. */
  | "read"
  /** An existing file, for reading and writing at positions. */
  | "write"
  /** A new file for writing; an existing file of that name is emptied. */
  | "create";

export interface FileStat {
  readonly directory: boolean;
  readonly sizeBytes: number;
}

export interface StorageFile {
  /** Writes all of `bytes` at `position`. `bytes` must not change before the callback. */
  write(bytes: Uint8Array, position: number, done: FsDone): void;
  /** Makes data and size durable (fdatasync). */
  sync(done: FsDone): void;
  close(done: FsDone): void;
}

/** Exclusive use of a directory. It ends with `release` or with the process, also when the process is killed. */
export interface DirLock {
  /** For the log: where the lock holds less than it should, and what follows from that. Absent: it holds. */
  readonly warning?: string;
  release(done: FsDone): void;
}

export interface StorageFs {
  open(path: string, mode: OpenMode, done: FsCallback<StorageFile>): void;
  /** Reads the whole file. */
  readFile(path: string, done: FsCallback<Uint8Array>): void;
  /** Null when nothing exists at `path`. */
  stat(path: string, done: FsCallback<FileStat | null>): void;
  /** The names in a directory, in no particular order. */
  readdir(path: string, done: FsCallback<readonly string[]>): void;
  /** Creates one directory. An existing directory is no error. */
  mkdir(path: string, done: FsDone): void;
  /** Renames atomically and replaces a file of the new name. Durable after syncDir of the directory. */
  rename(from: string, to: string, done: FsDone): void;
  unlink(path: string, done: FsDone): void;
  /** Removes an empty directory. */
  rmdir(path: string, done: FsDone): void;
  /** Makes the creations, renames and removals in a directory durable. */
  syncDir(path: string, done: FsDone): void;
  /** Takes the lock of a directory. Fails with EBUSY while another process, or this one, has the lock. */
  lock(path: string, done: FsCallback<DirLock>): void;
}
