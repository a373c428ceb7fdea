/**
 * The file system of one process on a simulated disk. Every operation takes virtual time and is a separate event, so that
 * a crash can happen between any two. An operation that is under way when the process is killed may be done in part.
 */
import type {
  DirLock,
  FileStat,
  FsCallback,
  FsDone,
  FsError,
  OpenMode,
  StorageFile,
  StorageFs,
} from "../../src/storage/fs";
import type { Coverage } from "./coverage";
import { SimDir, SimFile } from "./disk";
import type { SimDisk, SimNode } from "./disk";
import type { SimRandom } from "./random";
import type { Owner, Scheduler } from "./scheduler";

/** Durations of operations in virtual time. */
export interface DiskTimes {
  readonly writeUs: number;
  /** Longest duration of a sync; the shortest is a tenth of it. */
  readonly syncUs: number;
}

function errno(code: string, path: string): FsError {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

export class SimFs implements StorageFs {
  /** Whether an operation of this process got an injected fault, so that its failure is expected. */
  faulted = false;
  /** Whether the process has a file descriptor left. */
  descriptorsLeft = true;

  constructor(
    private readonly disk: SimDisk,
    private readonly owner: Owner,
    private readonly scheduler: Scheduler,
    private readonly random: SimRandom,
    private readonly times: DiskTimes,
    private readonly coverage: Coverage,
  ) {}

  open(path: string, mode: OpenMode, done: FsCallback<StorageFile>): void {
    this.later("open", path, () => {
      if (this.lacksDescriptor() || path === this.disk.unopenable) {
        done(errno("EMFILE", path), undefined);
        return;
      }
      const { dir, name } = this.locate(path);
      let node = dir?.names.get(name);
      if (dir === undefined || (mode !== "create" && node === undefined)) {
        done(errno("ENOENT", path), undefined);
        return;
      }
      if (mode === "create") {
        // Opening empties an old file of that name, which a crash may undo. Modelled as a new file under the name.
        node = new SimFile();
        dir.change({ kind: "link", name, node });
      }
      if (node instanceof SimFile) done(null, this.handle(node, path));
      else done(errno("EISDIR", path), undefined);
    });
  }

  readFile(path: string, done: FsCallback<Uint8Array>): void {
    this.later("read", path, () => {
      const node = this.disk.node(path);
      if (node instanceof SimFile) done(null, node.data.copy());
      else done(errno("ENOENT", path), undefined);
    });
  }

  stat(path: string, done: FsCallback<FileStat | null>): void {
    this.later("stat", path, () => {
      const node = this.disk.node(path);
      if (node === undefined) done(null, null);
      else if (node instanceof SimDir) done(null, { directory: true, sizeBytes: 0 });
      else done(null, { directory: false, sizeBytes: node.data.size });
    });
  }

  readdir(path: string, done: FsCallback<readonly string[]>): void {
    this.later("readdir", path, () => {
      const dir = this.disk.dir(path);
      if (dir === undefined) done(errno("ENOENT", path), undefined);
      else done(null, [...dir.names.keys()]);
    });
  }

  mkdir(path: string, done: FsDone): void {
    this.later("mkdir", path, () => {
      const { dir, name } = this.locate(path);
      if (dir === undefined) done(errno("ENOENT", path));
      else {
        if (!dir.names.has(name)) dir.change({ kind: "link", name, node: new SimDir() });
        done(null);
      }
    });
  }

  rename(from: string, to: string, done: FsDone): void {
    this.later("rename", from, () => {
      const source = this.locate(from);
      const target = this.locate(to);
      const node = source.dir?.names.get(source.name);
      if (source.dir === undefined || node === undefined || source.dir !== target.dir) {
        done(errno("ENOENT", from));
        return;
      }
      source.dir.change({ kind: "rename", name: source.name, to: target.name, node });
      done(null);
    });
  }

  unlink(path: string, done: FsDone): void {
    this.later("unlink", path, () => {
      done(this.removeName(path));
    });
  }

  rmdir(path: string, done: FsDone): void {
    this.later("rmdir", path, () => {
      const dir = this.disk.dir(path);
      done(dir !== undefined && dir.names.size > 0 ? errno("ENOTEMPTY", path) : this.removeName(path));
    });
  }

  syncDir(path: string, done: FsDone): void {
    const dir = this.disk.dir(path);
    const changes = dir?.changes ?? 0;
    this.later(
      "syncDir",
      path,
      () => {
        if (this.lacksDescriptor()) {
          done(errno("EMFILE", path));
          return;
        }
        if (this.fails("sync")) {
          if (this.forgets()) dir?.forget(changes);
          done(errno("EIO", path));
          return;
        }
        dir?.synced(changes);
        done(dir === undefined ? errno("ENOENT", path) : null);
      },
      this.syncTime(),
    );
  }

  lock(path: string, done: FsCallback<DirLock>): void {
    this.later("lock", path, () => {
      const dir = this.disk.dir(path);
      if (dir === undefined) done(errno("ENOENT", path), undefined);
      else if (this.disk.locked.has(dir)) done(errno("EBUSY", path), undefined);
      else {
        this.disk.locked.add(dir);
        const release = (released: FsDone): void => {
          this.later("unlock", path, () => {
            this.disk.locked.delete(dir);
            released(null);
          });
        };
        done(null, { release });
      }
    });
  }

  private handle(file: SimFile, path: string): StorageFile {
    return {
      write: (bytes, position, done) => {
        const write = file.issue(position, Buffer.from(bytes));
        this.later("write", path, () => {
          const growth = Math.max(0, position + bytes.length - file.data.size);
          if (growth > 0 && this.disk.capacityBytes !== Infinity) {
            if (this.disk.usedBytes() + growth > this.disk.capacityBytes) {
              file.withdraw(write);
              this.faulted = true;
              this.coverage.add("disk full");
              done(errno("ENOSPC", path));
              return;
            }
          }
          if (this.fails("write")) {
            done(errno("EIO", path));
            return;
          }
          file.complete(write);
          done(null);
        });
      },
      sync: (done) => {
        const covered = file.covered();
        this.later(
          "sync",
          path,
          () => {
            if (this.fails("sync")) {
              file.syncFailed(covered, this.random, this.forgets());
              done(errno("EIO", path));
            } else {
              file.synced(covered);
              done(null);
            }
          },
          this.syncTime(),
        );
      },
      close: (done) => {
        this.later("close", path, () => {
          done(null);
        });
      },
    };
  }

  private fails(kind: "write" | "sync"): boolean {
    if (this.disk.failNext !== kind) return false;
    this.disk.failNext = null;
    this.faulted = true;
    this.coverage.add(kind === "sync" ? "sync error" : "write error");
    return true;
  }

  /** Draws which kind of file system this is at a failed sync. */
  private forgets(): boolean {
    if (!this.random.chance(0.5)) return false;
    this.coverage.add("sync error that the page cache forgets");
    return true;
  }

  private lacksDescriptor(): boolean {
    if (!this.descriptorsLeft) this.coverage.add("no file descriptor left");
    return !this.descriptorsLeft;
  }

  private removeName(path: string): FsError | null {
    const { dir, name } = this.locate(path);
    if (dir?.names.has(name) !== true) return errno("ENOENT", path);
    dir.change({ kind: "unlink", name });
    return null;
  }

  private syncTime(): number {
    const { syncUs } = this.times;
    return this.random.between(Math.ceil(syncUs / 10), syncUs);
  }

  private later(operation: string, path: string, act: () => void, timeUs: number = this.times.writeUs): void {
    this.scheduler.after(timeUs * this.disk.slowness, "disk", this.owner, act, `${operation} ${path}`);
  }

  private locate(path: string): { dir: SimDir | undefined; name: string } {
    const slash = path.lastIndexOf("/");
    return { dir: this.disk.dir(path.slice(0, slash)), name: path.slice(slash + 1) };
  }
}

export type { SimNode };
