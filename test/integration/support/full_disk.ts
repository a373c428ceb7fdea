/**
 * A disk that can be filled and freed, and one whose syncs fail: the real file system with the errors of the operating
 * system put in. While it is full, what a file has already may be overwritten, and no file grows.
 */
import { statSync } from "node:fs";
import { nodeFs } from "../../../src/storage/fs";
import type { FsDone, FsError, StorageFile, StorageFs } from "../../../src/storage/fs";

function failure(code: string, text: string): FsError {
  return Object.assign(new Error(`${code}: ${text}`), { code });
}

export class TroubledDisk {
  readonly fs: StorageFs;
  /** Whether no file can grow. */
  full = false;
  /** How often something was refused for want of space. */
  refusals = 0;
  /** The files whose next sync fails, once, with EIO. */
  private failing: ((path: string) => boolean) | null = null;
  /** What was done to the file whose sync failed, after that. */
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

  /** The next sync of a file that `matches` fails; what follows on that file is noted. */
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
