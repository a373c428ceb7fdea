/**
 * A disk that can be filled and freed, and one whose syncs fail: the real file system with injected errors. While the disk
 * is full, the existing bytes of a file may be overwritten, but no file grows.
 */
import { statSync } from "node:fs";
import { nodeFs } from "../../../src/storage/node_fs";
import type { FsDone, FsError, StorageFile, StorageFs } from "../../../src/storage/fs";

function failure(code: string, text: string): FsError {
  return Object.assign(new Error(`${code}: ${text}`), { code });
}

export class TroubledDisk {
  readonly fs: StorageFs;
  /** Whether no file can grow. */
  full = false;
  /** Number of operations that were refused because the disk is full. */
  refusals = 0;
  /** Selects the files whose next sync fails with EIO, once. */
  private failing: ((path: string) => boolean) | null = null;
  /** The operations on the file whose sync failed, after the failure. */
  readonly afterFailure: string[] = [];
  failedFile: string | null = null;

  constructor() {
    this.fs = {
      ...nodeFs,
      open: (path, mode, done) => {
        nodeFs.open(path, mode, (...result) => {
          if (result[0] !== null) {
            done(result[0], undefined);
            return;
          }
          // Opening with "create" empties the file.
          done(null, this.watched(path, result[1], statSync(path).size));
        });
      },
    };
  }

  /** Makes the next sync of a matching file fail, and records later operations on that file. */
  failNextSync(matches: (path: string) => boolean): void {
    this.failing = matches;
  }

  private watched(path: string, file: StorageFile, sizeBytes: number): StorageFile {
    let size = sizeBytes;
    return {
      write: (bytes, position, done) => {
        this.note(path, "write");
        const end = position + bytes.length;
        if (this.full && end > size) {
          this.refusals++;
          later(done, failure("ENOSPC", "no space left on device, write"));
          return;
        }
        size = Math.max(size, end);
        file.write(bytes, position, done);
      },
      sync: (done) => {
        this.note(path, "sync");
        if (this.failing?.(path) !== true) {
          file.sync(done);
          return;
        }
        this.failing = null;
        this.failedFile = path;
        later(done, failure("EIO", "i/o error, fdatasync"));
      },
      close: (done) => {
        file.close(done);
      },
    };
  }

  private note(path: string, what: string): void {
    if (path === this.failedFile) this.afterFailure.push(what);
  }
}

function later(done: FsDone, error: FsError): void {
  setImmediate(() => {
    done(error);
  });
}

/** One disk for each member, by name. */
export class TroubledDisks {
  private readonly disks = new Map<string, TroubledDisk>();

  of(name: string): TroubledDisk {
    const known = this.disks.get(name);
    if (known !== undefined) return known;
    const disk = new TroubledDisk();
    this.disks.set(name, disk);
    return disk;
  }

  readonly depsOf = (name: string): { fs: StorageFs } => ({ fs: this.of(name).fs });
}
