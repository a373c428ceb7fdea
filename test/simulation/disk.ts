/**
 * The disk of one machine: the state that the operating system shows, the durable state, and the states that a crash may
 * leave.
 *
 * Model. A sync of a file makes its data durable, a sync of a directory its names. At power loss any subset of the
 * 512-byte or 4096-byte sectors written since the last sync may survive, the size of a grown file may be the old one, and
 * any subset of the name changes in a directory may survive (each rename whole or not at all). A killed process loses
 * nothing that was written. A failed sync may lose the data that it was to make durable, although the next sync succeeds
 * (USENIX ATC 2020): on one kind of file system reads give the old data from then on, on the other one (ext4, XFS) the
 * page cache goes on with the new data, takes them for durable, and a power loss brings the old data back.
 */
import type { SimRandom } from "./random";

interface PendingWrite {
  readonly position: number;
  readonly bytes: Buffer;
  /** Whether the write has completed. */
  done: boolean;
}

/** A growing array of bytes; bytes that were never written are zero. */
class Bytes {
  private buffer: Buffer;
  size: number;

  constructor(start: Buffer = Buffer.alloc(0)) {
    this.buffer = start;
    this.size = start.length;
  }

  write(position: number, bytes: Buffer): void {
    const end = position + bytes.length;
    if (end > this.buffer.length) {
      const grown = Buffer.alloc(Math.max(end, 2 * this.buffer.length));
      this.buffer.copy(grown, 0, 0, this.size);
      this.buffer = grown;
    }
    bytes.copy(this.buffer, position);
    if (end > this.size) this.size = end;
  }

  truncate(size: number): void {
    if (size >= this.size) return;
    this.buffer.fill(0, size, this.size);
    this.size = size;
  }

  view(): Buffer {
    return this.buffer.subarray(0, this.size);
  }

  copy(): Buffer {
    return Buffer.from(this.view());
  }
}

export class SimFile {
  data = new Bytes();
  private durable = new Bytes();
  private pending: PendingWrite[] = [];
  /** Reads show data that the disk does not have and that no sync will write. */
  private forgotten = false;

  issue(position: number, bytes: Buffer): PendingWrite {
    const write = { position, bytes, done: false };
    this.pending.push(write);
    return write;
  }

  complete(write: PendingWrite): void {
    write.done = true;
    this.data.write(write.position, write.bytes);
  }

  /** Takes back a write that failed without effect. */
  withdraw(write: PendingWrite): void {
    this.pending = this.pending.filter((other) => other !== write);
  }

  /** The writes that a sync which starts now makes durable. */
  covered(): readonly PendingWrite[] {
    return this.pending.filter((write) => write.done);
  }

  synced(writes: readonly PendingWrite[]): void {
    for (const { position, bytes } of writes) this.durable.write(position, bytes);
    this.pending =
      this.pending.length === writes.length ? [] : this.pending.filter((w) => !writes.includes(w));
  }

  /**
   * A sync failed: the pages are marked clean, but some of them never reached the disk.
   *
   * @param forgets whether reads go on to show the new data
   */
  syncFailed(writes: readonly PendingWrite[], random: SimRandom, forgets: boolean): void {
    for (const { position, bytes } of writes) if (random.chance(0.5)) this.durable.write(position, bytes);
    this.pending = this.pending.filter((write) => !writes.includes(write));
    if (forgets) {
      this.forgotten = true;
      return;
    }
    this.data = new Bytes(this.durable.copy());
    for (const { position, bytes, done } of this.pending) if (done) this.data.write(position, bytes);
  }

  /** @returns whether anything was torn or lost */
  powerLost(random: SimRandom): boolean {
    if (this.pending.length === 0 && !this.forgotten) return false;
    const before = this.durable.size;
    const pieces = this.pending.flatMap((write) => sectors(write, random.chance(0.3) ? 4096 : 512));
    const kept = keepSome(pieces, random);
    for (const { position, bytes } of kept) this.durable.write(position, bytes);
    // The size is metadata and may be the old one although the data were written.
    if (this.durable.size > before && random.chance(0.3)) this.durable.truncate(before);
    const lost = kept.length < pieces.length || this.forgotten;
    this.settle();
    return lost;
  }

  /** The process was killed: completed writes survive, and any part of a write in flight. */
  killed(random: SimRandom): void {
    for (const write of this.pending) {
      for (const { position, bytes } of write.done ? [write] : keepSome(sectors(write, 512), random)) {
        this.data.write(position, bytes);
        // In reality a power loss soon after may still lose these pages; the model leaves that case to other crashes.
        this.durable.write(position, bytes);
      }
    }
    this.pending = [];
  }

  flip(offset: number, bit: number): void {
    for (const bytes of [this.data.view(), this.durable.view()]) {
      if (offset < bytes.length) bytes[offset] = (bytes[offset] ?? 0) ^ (1 << bit);
    }
  }

  private settle(): void {
    this.data = new Bytes(this.durable.copy());
    this.pending = [];
    this.forgotten = false;
  }
}

type NameChange =
  | { readonly kind: "link"; readonly name: string; readonly node: SimNode }
  | { readonly kind: "unlink"; readonly name: string }
  | { readonly kind: "rename"; readonly name: string; readonly to: string; readonly node: SimNode };

export class SimDir {
  names = new Map<string, SimNode>();
  private durable = new Map<string, SimNode>();
  private pending: NameChange[] = [];

  change(change: NameChange): void {
    apply(this.names, change);
    this.pending.push(change);
  }

  /** The number of name changes that a sync which starts now makes durable. */
  get changes(): number {
    return this.pending.length;
  }

  synced(changes: number): void {
    for (const change of this.pending.splice(0, changes)) apply(this.durable, change);
  }

  /** A sync failed, and the new names count as durable from then on. Removed names stay to be written. */
  forget(changes: number): void {
    const failed = this.pending.splice(0, changes);
    this.pending.unshift(...failed.filter((change) => change.kind === "unlink"));
  }

  powerLost(random: SimRandom): boolean {
    const kept = keepSome(this.pending, random);
    const lost = kept.length < this.pending.length;
    for (const change of kept) apply(this.durable, change);
    this.settle();
    return lost;
  }

  killed(): void {
    this.synced(this.pending.length);
  }

  private settle(): void {
    this.names = new Map(this.durable);
    this.pending = [];
  }
}

export type SimNode = SimFile | SimDir;

function apply(names: Map<string, SimNode>, change: NameChange): void {
  if (change.kind === "link") names.set(change.name, change.node);
  else if (change.kind === "unlink") names.delete(change.name);
  else {
    if (names.get(change.name) === change.node) names.delete(change.name);
    names.set(change.to, change.node);
  }
}

function sectors({ position, bytes }: PendingWrite, size: number): { position: number; bytes: Buffer }[] {
  const pieces: { position: number; bytes: Buffer }[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + size - ((position + at) % size));
    pieces.push({ position: position + at, bytes: bytes.subarray(at, end) });
    at = end;
  }
  return pieces;
}

/** A random part of a list in its order: none, all, a prefix, all but one, or any subset. */
function keepSome<T>(all: readonly T[], random: SimRandom): readonly T[] {
  switch (random.below(5)) {
    case 0:
      return [];
    case 1:
      return all;
    case 2:
      return all.slice(0, random.below(all.length + 1));
    case 3: {
      const lost = random.below(all.length);
      return all.filter((_, i) => i !== lost);
    }
    default:
      return all.filter(() => random.chance(0.5));
  }
}

export class SimDisk {
  root = new SimDir();
  locked = new Set<SimDir>();
  /** Most bytes of all files together; Infinity for a disk that never becomes full. */
  capacityBytes = Infinity;
  /** Factor on the duration of every operation. */
  slowness = 1;
  /** The next operation of this kind fails with EIO. */
  failNext: "write" | "sync" | null = null;
  /** A file that can't be opened, as without a file descriptor. */
  unopenable: string | null = null;

  node(path: string): SimNode | undefined {
    let node: SimNode | undefined = this.root;
    for (const part of path.split("/")) {
      if (part === "") continue;
      if (!(node instanceof SimDir)) return undefined;
      node = node.names.get(part);
    }
    return node;
  }

  dir(path: string): SimDir | undefined {
    const node = this.node(path);
    return node instanceof SimDir ? node : undefined;
  }

  files(): { readonly path: string; readonly file: SimFile }[] {
    const found: { path: string; file: SimFile }[] = [];
    const visit = (dir: SimDir, path: string): void => {
      for (const [name, node] of dir.names) {
        if (node instanceof SimFile) found.push({ path: `${path}/${name}`, file: node });
        else visit(node, `${path}/${name}`);
      }
    };
    visit(this.root, "");
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  usedBytes(): number {
    return this.files().reduce((sum, { file }) => sum + file.data.size, 0);
  }

  /** @returns whether the crash lost anything that was written */
  crash(kind: "power" | "kill", random: SimRandom): boolean {
    this.locked.clear();
    this.failNext = null;
    return this.crashDir(this.root, kind, random, new Set());
  }

  wipe(): void {
    this.root = new SimDir();
    this.locked.clear();
    this.failNext = null;
  }

  /** Crashes the names first, because a file without a name is lost with its data. */
  private crashDir(dir: SimDir, kind: "power" | "kill", random: SimRandom, seen: Set<SimNode>): boolean {
    let lost = false;
    if (kind === "power") lost = dir.powerLost(random);
    else dir.killed();
    for (const node of dir.names.values()) {
      if (seen.has(node)) continue;
      seen.add(node);
      if (node instanceof SimDir) lost = this.crashDir(node, kind, random, seen) || lost;
      else if (kind === "power") lost = node.powerLost(random) || lost;
      else node.killed(random);
    }
    return lost;
  }
}
