/**
 * The real file system: fs.ts implemented on Node's thread pool.
 */
import * as fs from "node:fs";
import { fillReserve, openFromReserve } from "./descriptor_reserve";
import { lockDirectory } from "./dir_lock";
import type { FsDone, OpenMode, StorageFile, StorageFs } from "./fs";

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
      // A short write is no error. Writing the rest either succeeds or gives the reason, such as ENOSPC.
      else this.write(bytes.subarray(written), position + written, done);
    });
  }

  sync(done: FsDone): void {
    fs.fdatasync(this.fd, done);
  }

  close(done: FsDone): void {
    fs.close(this.fd, (error) => {
      fillReserve();
      done(error ?? null);
    });
  }
}

/** The real file system. */
export const nodeFs: StorageFs = {
  open(path, mode, done) {
    fs.open(path, FLAGS[mode], 0o600, (error, fd) => {
      const opened =
        error === null ? fd : openFromReserve(error, () => fs.openSync(path, FLAGS[mode], 0o600));
      if (opened !== null) done(null, new RealFile(opened));
      else if (error !== null) done(error, undefined);
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
    // Windows cannot open a directory; the journal of its file system orders changes of names.
    if (process.platform === "win32") {
      queueMicrotask(() => {
        done(null);
      });
      return;
    }
    fs.open(path, "r", (error, fd) => {
      const opened = error === null ? fd : openFromReserve(error, () => fs.openSync(path, "r"));
      if (opened === null) {
        done(error);
        return;
      }
      fs.fsync(opened, (syncError) => {
        fs.close(opened, (closeError) => {
          fillReserve();
          done(syncError ?? closeError ?? null);
        });
      });
    });
  },

  lock(path, done) {
    lockDirectory(path, (...result) => {
      // A locked directory is about to be used: from now on its files must not fail for want of a descriptor.
      if (result[0] === null) fillReserve();
      done(...result);
    });
  },
};
