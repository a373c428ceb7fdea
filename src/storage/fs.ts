/**
 * The file system as storage sees it: few operations, each asynchronous with a callback. The real one runs them on
 * Node's thread pool; the simulation and the fault tests put their own in its place. No other file of this room, and
 * no other room, touches node:fs for a data directory.
 *
 * Contract of every implementation: a callback comes exactly once and never inside the call; operations on one file
 * that are issued one after another's callback take effect in that order; `write` writes all bytes or fails.
 */
import * as fs from "node:fs";
import { listenLock } from "./dir_lock";

/** What a failed operation gives; `code` is the operating system's (ENOSPC, EIO, ...). */
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
  /** A new file for writing; an old one of that name is emptied. */
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

/** A held directory. Released by `release` or by the end of the process, however it ends. */
export interface DirLock {
  release(done: FsDone): void;
}

export interface StorageFs {
  open(path: string, mode: OpenMode, done: FsCallback<StorageFile>): void;
  /** The whole file. */
  readFile(path: string, done: FsCallback<Uint8Array>): void;
  /** Null when there is nothing at `path`. */
  stat(path: string, done: FsCallback<FileStat | null>): void;
  /** Names in a directory, in no order. */
  readdir(path: string, done: FsCallback<readonly string[]>): void;
  /** Makes one directory; one that is there already is no error. */
  mkdir(path: string, done: FsDone): void;
  /** Atomically, replacing a file of the new name. Durable after syncDir of the directory. */
  rename(from: string, to: string, done: FsDone): void;
  unlink(path: string, done: FsDone): void;
  /** Removes an empty directory. */
  rmdir(path: string, done: FsDone): void;
  /** Makes creations, renames and removals in a directory durable. */
  syncDir(path: string, done: FsDone): void;
  /** Holds a directory against every other process; EBUSY when it is held. */
  lock(path: string, done: FsCallback<DirLock>): void;
}

const FLAGS: Record<OpenMode, string> = { read: "r", write: "r+", create: "w+" };

class RealFile implements StorageFile {
  constructor(private readonly fd: number) {}

  write(bytes: Uint8Array, position: number, done: FsDone): void {
    if (bytes.length === 0) {
      queueMicrotask(() => {
        done(null);
      });
      return;
    }
    fs.write(this.fd, bytes, 0, bytes.length, position, (error, written) => {
      if (error !== null) done(error);
      else if (written === bytes.length) done(null);
      else if (written === 0) done(Object.assign(new Error("a write wrote nothing"), { code: "EIO" }));
      // A short write is no error: its rest tells why (ENOSPC, or nothing at all).
      else this.write(bytes.subarray(written), position + written, done);
    });
  }

  sync(done: FsDone): void {
    fs.fdatasync(this.fd, done);
  }

  close(done: FsDone): void {
    fs.close(this.fd, (error) => {
      done(error ?? null);
    });
  }
}

/** The real file system. */
export const nodeFs: StorageFs = {
  open(path, mode, done) {
    fs.open(path, FLAGS[mode], 0o600, (error, fd) => {
      if (error !== null) done(error, undefined);
      else done(null, new RealFile(fd));
    });
  },

  readFile(path, done) {
    fs.readFile(path, (error, data) => {
      if (error !== null) done(error, undefined);
      else done(null, data);
    });
  },

  stat(path, done) {
    fs.stat(path, (error, stat) => {
      if (error === null) done(null, { directory: stat.isDirectory(), sizeBytes: stat.size });
      else if (error.code === "ENOENT") done(null, null);
      else done(error, undefined);
    });
  },

  readdir(path, done) {
    fs.readdir(path, (error, names) => {
      if (error !== null) done(error, undefined);
      else done(null, names);
    });
  },

  mkdir(path, done) {
    fs.mkdir(path, { mode: 0o700 }, (error) => {
      done(error === null || error.code === "EEXIST" ? null : error);
    });
  },

  rename(from, to, done) {
    fs.rename(from, to, done);
  },

  unlink(path, done) {
    fs.unlink(path, done);
  },

  rmdir(path, done) {
    fs.rmdir(path, done);
  },

  syncDir(path, done) {
    // Windows cannot open a directory; its journal orders the changes of names.
    if (process.platform === "win32") {
      queueMicrotask(() => {
        done(null);
      });
      return;
    }
    fs.open(path, "r", (error, fd) => {
      if (error !== null) {
        done(error);
        return;
      }
      fs.fsync(fd, (syncError) => {
        fs.close(fd, (closeError) => {
          done(syncError ?? closeError ?? null);
        });
      });
    });
  },

  lock(path, done) {
    fs.stat(path, { bigint: true }, (error, stat) => {
      if (error !== null) done(error, undefined);
      else listenLock(stat.dev, stat.ino, done);
    });
  },
};

/** One operation as a promise, for opening, creating and closing; the append path uses the callbacks. */
export function call<T>(start: (done: FsCallback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((...result) => {
      if (result[0] !== null) reject(result[0]);
      else resolve(result[1]);
    });
  });
}

/** As `call`, for operations without a value. */
export function run(start: (done: FsDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error !== null) reject(error);
      else resolve();
    });
  });
}

/** Runs steps one after the other; the first error ends the chain. `done` is called once. */
export function series(steps: readonly ((next: FsDone) => void)[], done: FsDone): void {
  const runStep = (i: number): void => {
    const step = steps[i];
    if (step === undefined) {
      done(null);
      return;
    }
    step((error) => {
      if (error !== null) done(error);
      else runStep(i + 1);
    });
  };
  runStep(0);
}
