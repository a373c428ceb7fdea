/**
 * A file system that tries again while the process or the system has no file descriptor left (EMFILE, ENFILE). Such an
 * error comes before the operation has begun, so nothing is lost, and connections that end bring descriptors back. Only
 * opening a file and syncing a directory need one while a log is open.
 *
 * Operations of the log wait in order meanwhile: nothing is acknowledged, nothing fails. At a start the plain file system is
 * used, so that a limit that is too low for the member is a clear refusal.
 */
import type { Clock } from "../base/clock";
import { isNoDescriptor } from "./errors";
import type { FsError, StorageFs } from "./fs";

/** Time before the second attempt; doubled for each later one. */
const FIRST_WAIT_MS = 20;
const LONGEST_WAIT_MS = 2_000;

/** A lack of file descriptors began, or is over. */
export interface DescriptorShortage {
  readonly over: boolean;
  /** The file or directory that could not be opened, or was opened at last. */
  readonly file: string;
  /** EMFILE: the process has too many open files. ENFILE: the system has. */
  readonly errno: string;
}

export function patientFs(
  fs: StorageFs,
  clock: Clock,
  onShortage: (shortage: DescriptorShortage) => void,
): StorageFs {
  /** @param start one attempt, which gets what to do with its error; it ends the operation when that returns false */
  const patiently = (file: string, start: (again: (error: FsError | null) => boolean) => void): void => {
    let waitMs = 0;
    let errno = "";
    const attempt = (): void => {
      start((error) => {
        if (error === null || !isNoDescriptor(error)) {
          if (waitMs > 0) onShortage({ over: true, file, errno });
          return false;
        }
        errno = error.code ?? "";
        if (waitMs === 0) onShortage({ over: false, file, errno });
        waitMs = Math.min(LONGEST_WAIT_MS, Math.max(FIRST_WAIT_MS, 2 * waitMs));
        clock.setTimeout(attempt, waitMs);
        return true;
      });
    };
    attempt();
  };
  return {
    open(path, mode, done) {
      patiently(path, (again) => {
        fs.open(path, mode, (...result) => {
          if (!again(result[0])) done(...result);
        });
      });
    },
    syncDir(path, done) {
      patiently(path, (again) => {
        fs.syncDir(path, (error) => {
          if (!again(error)) done(error);
        });
      });
    },
    readFile: (path, done) => {
      fs.readFile(path, done);
    },
    stat: (path, done) => {
      fs.stat(path, done);
    },
    readdir: (path, done) => {
      fs.readdir(path, done);
    },
    mkdir: (path, done) => {
      fs.mkdir(path, done);
    },
    rename: (from, to, done) => {
      fs.rename(from, to, done);
    },
    unlink: (path, done) => {
      fs.unlink(path, done);
    },
    rmdir: (path, done) => {
      fs.rmdir(path, done);
    },
    lock: (path, done) => {
      fs.lock(path, done);
    },
  };
}
