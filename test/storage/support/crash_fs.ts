/**
 * A file system in memory that records every operation, so that tests can rebuild the states that a power loss at any
 * moment could have left. It can also fail operations on demand, and be full.
 *
 * Power-loss model: synced data survive. Of the writes to a file since its last sync, any subset of sectors may survive,
 * and the file's size may be the old one. Of the name changes in a directory since its last sync, any subset may survive;
 * each rename is atomic.
 *
 * After a failed sync file systems differ (USENIX ATC 2020), see FailedSync.
 */
import type {
  DirLock,
  FsCallback,
  FsDone,
  FsError,
  OpenMode,
  StorageFile,
  StorageFs,
} from "../../../src/storage/fs";
import type { FileStat } from "../../../src/storage/fs";

export type FaultKind = "open" | "write" | "sync" | "rename" | "unlink" | "syncDir" | "mkdir" | "read";
/** Called before each operation. Returns an errno to make it fail. */
export type Fault = (kind: FaultKind, path: string) => string | null;

/** What a failed sync does to the data that it was to make durable. */
export type FailedSync =
  /** They stay dirty: the next sync makes them durable. */
  | "keeps"
  /** Reads give the old data again. */
  | "reverts"
  /**
   * Reads give the new data, but their pages count as clean: the next sync succeeds and writes nothing, and a power loss
   * gives the old data (ext4, XFS). So it is with new names in a directory; removed names stay to be written.
   */
  | "forgets";

type NameChange =
  | { readonly kind: "link"; readonly name: string; readonly inode: number; readonly node: "file" | "dir" }
  | { readonly kind: "unlink"; readonly name: string }
  | { readonly kind: "rename"; readonly name: string; readonly to: string; readonly inode: number };

/** One recorded operation. */
export type Op =
  | { readonly kind: "write"; readonly inode: number; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: "sync"; readonly inode: number }
  | { readonly kind: "names"; readonly dir: number; readonly change: NameChange }
  | { readonly kind: "syncDir"; readonly dir: number }
  /** A sync failed, and the page cache takes what it has of this file or directory for durable. */
  | { readonly kind: "forget"; readonly inode: number }
  /** Inserted by the test: an operation was requested or acknowledged. */
  | { readonly kind: "note"; readonly note: string; readonly value: number };

interface FileNode {
  readonly kind: "file";
  data: Buffer;
}

interface DirNode {
  readonly kind: "dir";
  readonly names: Map<string, number>;
}

export type Tree = Map<number, FileNode | DirNode>;

const ROOT = 1;
/** A failed write may have written a part, in whole sectors. */
const SECTOR_BYTES = 512;

function errno(code: string, path: string): FsError {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

function applyWrite(data: Buffer, position: number, bytes: Buffer): Buffer {
  let grown = data;
  if (position + bytes.length > data.length) {
    grown = Buffer.alloc(position + bytes.length);
    data.copy(grown);
  }
  bytes.copy(grown, position);
  return grown;
}

function applyNames(names: Map<string, number>, change: NameChange): void {
  if (change.kind === "link") names.set(change.name, change.inode);
  else if (change.kind === "unlink") names.delete(change.name);
  else {
    if (names.get(change.name) === change.inode) names.delete(change.name);
    names.set(change.to, change.inode);
  }
}

export class CrashFs implements StorageFs {
  readonly tree: Tree;
  readonly ops: Op[] = [];
  private nextInode: number;
  private readonly locks = new Set<number>();
  fault: Fault = () => null;
  failedSync: FailedSync = "keeps";
  /** Data of each file at its last sync, for "reverts". */
  private readonly synced = new Map<number, Buffer>();
  /** Most bytes of all files together; writes that would exceed it fail with ENOSPC. */
  capacityBytes = Infinity;
  recording = true;

  constructor(tree?: Tree) {
    this.tree = tree ?? new Map([[ROOT, { kind: "dir", names: new Map() }]]);
    this.nextInode = Math.max(...this.tree.keys()) + 1;
    for (const [inode, node] of this.tree)
      if (node.kind === "file") this.synced.set(inode, Buffer.from(node.data));
  }

  note(note: string, value: number): void {
    this.record({ kind: "note", note, value });
  }

  /** Paths of all files. */
  files(): string[] {
    const found: string[] = [];
    const visit = (inode: number, path: string): void => {
      const node = this.tree.get(inode);
      if (node?.kind === "file") found.push(path);
      else if (node !== undefined) for (const [name, child] of node.names) visit(child, `${path}/${name}`);
    };
    visit(ROOT, "");
    return found.sort();
  }

  contents(path: string): Buffer {
    const node = this.nodeAt(path);
    if (node?.kind !== "file") throw new Error(`no file ${path}`);
    return node.data;
  }

  usedBytes(): number {
    let sum = 0;
    for (const node of this.tree.values()) if (node.kind === "file") sum += node.data.length;
    return sum;
  }

  /** Kills the process that holds the locks. Its writes stay in the operating system's memory. */
  killed(): void {
    this.locks.clear();
  }

  /** A file system with a copy of everything there is now. */
  clone(): CrashFs {
    const tree: Tree = new Map();
    for (const [inode, node] of this.tree) {
      tree.set(
        inode,
        node.kind === "file"
          ? { kind: "file", data: Buffer.from(node.data) }
          : { kind: "dir", names: new Map(node.names) },
      );
    }
    return new CrashFs(tree);
  }

  open(path: string, mode: OpenMode, done: FsCallback<StorageFile>): void {
    this.later("open", path, (error) => {
      if (error !== null) {
        done(error, undefined);
        return;
      }
      const { dir, name } = this.locate(path);
      const names = this.dirNode(dir)?.names;
      let inode = names?.get(name);
      if (names === undefined || (inode === undefined && mode !== "create")) {
        done(errno("ENOENT", path), undefined);
        return;
      }
      if (mode === "create") {
        inode = this.nextInode++;
        this.tree.set(inode, { kind: "file", data: Buffer.alloc(0) });
        this.changeNames(dir, { kind: "link", name, inode, node: "file" });
      }
      if (inode === undefined) throw new Error("unreachable: created or found above");
      done(null, this.handle(inode, path));
    });
  }

  readFile(path: string, done: FsCallback<Uint8Array>): void {
    this.later("read", path, (error) => {
      const node = this.nodeAt(path);
      if (error !== null) done(error, undefined);
      else if (node?.kind === "file") done(null, Buffer.from(node.data));
      else done(errno("ENOENT", path), undefined);
    });
  }

  stat(path: string, done: FsCallback<FileStat | null>): void {
    queueMicrotask(() => {
      const node = this.nodeAt(path);
      if (node === undefined) done(null, null);
      else
        done(null, {
          directory: node.kind === "dir",
          sizeBytes: node.kind === "file" ? node.data.length : 0,
        });
    });
  }

  readdir(path: string, done: FsCallback<readonly string[]>): void {
    queueMicrotask(() => {
      const node = this.nodeAt(path);
      if (node?.kind === "dir") done(null, [...node.names.keys()]);
      else done(errno("ENOENT", path), undefined);
    });
  }

  mkdir(path: string, done: FsDone): void {
    this.later("mkdir", path, (error) => {
      const { dir, name } = this.locate(path);
      if (error === null && this.dirNode(dir)?.names.has(name) !== true) {
        const inode = this.nextInode++;
        this.tree.set(inode, { kind: "dir", names: new Map() });
        this.changeNames(dir, { kind: "link", name, inode, node: "dir" });
      }
      done(error);
    });
  }

  rename(from: string, to: string, done: FsDone): void {
    this.later("rename", from, (error) => {
      const source = this.locate(from);
      const target = this.locate(to);
      const inode = this.dirNode(source.dir)?.names.get(source.name);
      if (error !== null) done(error);
      else if (inode === undefined || source.dir !== target.dir) done(errno("ENOENT", from));
      else {
        this.changeNames(source.dir, { kind: "rename", name: source.name, to: target.name, inode });
        done(null);
      }
    });
  }

  unlink(path: string, done: FsDone): void {
    this.later("unlink", path, (error) => {
      const { dir, name } = this.locate(path);
      if (error !== null) done(error);
      else if (this.dirNode(dir)?.names.has(name) !== true) done(errno("ENOENT", path));
      else {
        this.changeNames(dir, { kind: "unlink", name });
        done(null);
      }
    });
  }

  rmdir(path: string, done: FsDone): void {
    const node = this.nodeAt(path);
    if (node?.kind === "dir" && node.names.size > 0) {
      queueMicrotask(() => {
        done(errno("ENOTEMPTY", path));
      });
    } else this.unlink(path, done);
  }

  syncDir(path: string, done: FsDone): void {
    this.later("syncDir", path, (error) => {
      const node = this.inodeAt(path);
      if (error === null && node !== undefined) this.record({ kind: "syncDir", dir: node });
      else if (node !== undefined && this.failedSync !== "keeps")
        this.record({ kind: "forget", inode: node });
      done(error);
    });
  }

  lock(path: string, done: FsCallback<DirLock>): void {
    queueMicrotask(() => {
      const inode = this.inodeAt(path);
      if (inode === undefined) done(errno("ENOENT", path), undefined);
      else if (this.locks.has(inode)) done(errno("EBUSY", path), undefined);
      else {
        this.locks.add(inode);
        done(null, {
          release: (released) => {
            this.locks.delete(inode);
            queueMicrotask(() => {
              released(null);
            });
          },
        });
      }
    });
  }

  private handle(inode: number, path: string): StorageFile {
    return {
      write: (bytes, position, done) => {
        this.later("write", path, (error) => {
          const node = this.tree.get(inode);
          if (node?.kind !== "file") throw new Error("a file handle of a directory");
          if (error !== null) {
            // The first half is written, in whole sectors.
            const end = position + bytes.length / 2;
            const part = Buffer.from(bytes.subarray(0, Math.max(0, end - (end % SECTOR_BYTES) - position)));
            node.data = applyWrite(node.data, position, part);
            this.record({ kind: "write", inode, position, bytes: part });
            done(error);
            return;
          }
          const growth = Math.max(0, position + bytes.length - node.data.length);
          if (growth > 0 && this.usedBytes() + growth > this.capacityBytes) {
            done(errno("ENOSPC", path));
            return;
          }
          const copy = Buffer.from(bytes);
          node.data = applyWrite(node.data, position, copy);
          this.record({ kind: "write", inode, position, bytes: copy });
          done(null);
        });
      },
      sync: (done) => {
        this.later("sync", path, (error) => {
          if (error === null) this.record({ kind: "sync", inode });
          else if (this.failedSync !== "keeps") this.record({ kind: "forget", inode });
          const node = this.tree.get(inode);
          if (node?.kind === "file") {
            if (error === null) this.synced.set(inode, Buffer.from(node.data));
            else if (this.failedSync === "reverts")
              node.data = Buffer.from(this.synced.get(inode) ?? Buffer.alloc(0));
          }
          done(error);
        });
      },
      close: (done) => {
        queueMicrotask(() => {
          done(null);
        });
      },
    };
  }

  private later(kind: FaultKind, path: string, act: (error: FsError | null) => void): void {
    const code = this.fault(kind, path);
    queueMicrotask(() => {
      act(code === null ? null : errno(code, path));
    });
  }

  private record(op: Op): void {
    if (this.recording) this.ops.push(op);
  }

  private changeNames(dir: number, change: NameChange): void {
    const names = this.dirNode(dir)?.names;
    if (names === undefined) throw new Error("names of something that is no directory");
    applyNames(names, change);
    this.record({ kind: "names", dir, change });
  }

  private dirNode(inode: number): DirNode | undefined {
    const node = this.tree.get(inode);
    return node?.kind === "dir" ? node : undefined;
  }

  private locate(path: string): { dir: number; name: string } {
    const slash = path.lastIndexOf("/");
    return { dir: this.inodeAt(path.slice(0, slash)) ?? 0, name: path.slice(slash + 1) };
  }

  private inodeAt(path: string): number | undefined {
    let inode: number | undefined = ROOT;
    for (const part of path.split("/")) {
      if (part === "") continue;
      inode = inode === undefined ? undefined : this.dirNode(inode)?.names.get(part);
    }
    return inode;
  }

  private nodeAt(path: string): FileNode | DirNode | undefined {
    const inode = this.inodeAt(path);
    return inode === undefined ? undefined : this.tree.get(inode);
  }
}

/** A whole number in [0, n). */
export type Below = (n: number) => number;

/** mulberry32: small, seeded, good enough to choose cases. */
export function seeded(seed: number): Below {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000) * n);
  };
}

interface PendingFile {
  /** Contents at the last sync. */
  durable: Buffer;
  readonly writes: { readonly position: number; readonly bytes: Buffer }[];
}

interface PendingDir {
  readonly durable: Map<string, number>;
  readonly changes: NameChange[];
}

/** Replays the operations and rebuilds states that a power loss after the last one could have left. */
export class PowerLoss {
  private readonly fileStates = new Map<number, PendingFile>();
  private readonly dirStates = new Map<number, PendingDir>();

  constructor(start: Tree = new Map([[ROOT, { kind: "dir", names: new Map() } as const]])) {
    for (const [inode, node] of start) {
      if (node.kind === "file") this.fileStates.set(inode, { durable: Buffer.from(node.data), writes: [] });
      else this.dirStates.set(inode, { durable: new Map(node.names), changes: [] });
    }
  }

  apply(op: Op): void {
    if (op.kind === "write") this.file(op.inode).writes.push(op);
    else if (op.kind === "sync") {
      const file = this.file(op.inode);
      for (const write of file.writes.splice(0))
        file.durable = applyWrite(file.durable, write.position, write.bytes);
    } else if (op.kind === "names") {
      this.dir(op.dir).changes.push(op.change);
      // A new file exists, empty, as soon as a name for it survives.
      if (op.change.kind === "link") {
        if (op.change.node === "dir") this.dir(op.change.inode);
        else this.file(op.change.inode);
      }
    } else if (op.kind === "syncDir") {
      const dir = this.dir(op.dir);
      for (const change of dir.changes.splice(0)) applyNames(dir.durable, change);
    } else if (op.kind === "forget") {
      this.fileStates.get(op.inode)?.writes.splice(0);
      const dir = this.dirStates.get(op.inode);
      if (dir !== undefined)
        dir.changes.push(...dir.changes.splice(0).filter((change) => change.kind === "unlink"));
    }
  }

  /** Whether anything could be lost now. */
  pending(): boolean {
    for (const file of this.fileStates.values()) if (file.writes.length > 0) return true;
    for (const dir of this.dirStates.values()) if (dir.changes.length > 0) return true;
    return false;
  }

  /** One state that a power loss now could leave. */
  crash(below: Below): CrashFs {
    const tree: Tree = new Map();
    for (const [inode, dir] of this.dirStates) {
      const names = new Map(dir.durable);
      for (const change of keep(dir.changes, below)) applyNames(names, change);
      tree.set(inode, { kind: "dir", names });
    }
    for (const [inode, file] of this.fileStates)
      tree.set(inode, { kind: "file", data: crashFile(file, below) });
    return new CrashFs(tree);
  }

  private file(inode: number): PendingFile {
    let file = this.fileStates.get(inode);
    if (file === undefined) this.fileStates.set(inode, (file = { durable: Buffer.alloc(0), writes: [] }));
    return file;
  }

  private dir(inode: number): PendingDir {
    let dir = this.dirStates.get(inode);
    if (dir === undefined) this.dirStates.set(inode, (dir = { durable: new Map(), changes: [] }));
    return dir;
  }
}

/** A random part of a list: none, all, a prefix, or any subset. */
function keep<T>(all: readonly T[], below: Below): readonly T[] {
  switch (below(4)) {
    case 0:
      return [];
    case 1:
      return all;
    case 2:
      return all.slice(0, below(all.length + 1));
    default:
      return all.filter(() => below(2) === 0);
  }
}

function crashFile(file: PendingFile, below: Below): Buffer {
  const sector = below(3) === 0 ? 4096 : 512;
  const pieces: { position: number; bytes: Buffer }[] = [];
  for (const { position, bytes } of file.writes) {
    let at = 0;
    while (at < bytes.length) {
      const end = Math.min(bytes.length, at + sector - ((position + at) % sector));
      pieces.push({ position: position + at, bytes: bytes.subarray(at, end) });
      at = end;
    }
  }
  let data: Buffer = Buffer.from(file.durable);
  for (const { position, bytes } of keep(pieces, below)) data = applyWrite(data, position, bytes);
  // The size is metadata and may not have been written although the data were.
  return data.length > file.durable.length && below(3) === 0 ? data.subarray(0, file.durable.length) : data;
}
