/**
 * Writes a received snapshot to a file: first to `NAME.tmp`, which is synced and renamed, then the directory is synced.
 * Or to standard output. And reads such a file.
 *
 * Invariant: a file under the final name is complete, and its SHA-256 is the one that the member computed. Nothing but a
 * regular file is ever replaced: a device, a pipe or a symbolic link of that name has a use of its own.
 */
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { lstat, open, readFile, rename, rm } from "node:fs/promises";
import type { Stats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { SnapshotSink } from "../client";
import { UsageError } from "./io";
import type { Io } from "./io";

/** The name that stands for standard output. */
export const STDOUT = "-";

/** Where a snapshot goes. Ends with finish() or abandon(). */
export interface SnapshotTarget extends SnapshotSink {
  begin(): void | Promise<void>;
  /** Completes it. @throws Error when the received bytes have another SHA-256 @returns the checksum in hex */
  finish(sha256: Uint8Array): Promise<string>;
  /** Gives it up. Without effect after finish(). */
  abandon(): Promise<void>;
}

/** The target of that name. @throws UsageError when what is there must not be replaced */
export async function snapshotTarget(file: string, overwrite: boolean, io: Io): Promise<SnapshotTarget> {
  if (file === STDOUT) return new SnapshotOutput(io);
  const found = await statOf(file);
  if (found !== null) {
    const what = kindOf(found);
    if (what !== null) throw new UsageError(`${file} is ${what}, which is never replaced: give another name`);
    if (!overwrite) throw new UsageError(`${file} is there already: give another name, or --overwrite`);
  }
  const temporary = await statOf(`${file}.tmp`);
  const what = temporary === null ? null : kindOf(temporary);
  if (what !== null)
    throw new UsageError(`${file}.tmp, which is written first, is ${what}: give another name`);
  return new SnapshotFile(file);
}

/** @throws Error with one line when the file can't be read */
export async function readSnapshotFile(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EISDIR") {
      throw new Error(
        `${file} is a directory, and no saved snapshot: give the file that \`muster snapshot save\` wrote`,
        { cause: error },
      );
    }
    throw error;
  }
}

async function statOf(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** What it is, other than a regular file; null: a regular file. */
function kindOf(found: Stats): string | null {
  if (found.isFile()) return null;
  if (found.isDirectory()) return "a directory";
  if (found.isSymbolicLink()) return "a symbolic link";
  if (found.isFIFO()) return "a pipe";
  if (found.isSocket()) return "a socket";
  return "a device";
}

/** Standard output. What was written there can't be taken back, so that an attempt can't start over. */
class SnapshotOutput implements SnapshotTarget {
  private hash: Hash = createHash("sha256");
  private sizeBytes = 0;

  constructor(private readonly io: Io) {}

  begin(): void {
    if (this.sizeBytes === 0) return;
    throw new Error(
      "the member's answer broke off; what was written to standard output is not whole: try again",
    );
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.hash.update(chunk);
    this.sizeBytes += chunk.length;
    await this.io.stdout.writeBytes(chunk);
  }

  finish(sha256: Uint8Array): Promise<string> {
    return Promise.resolve(checked(this.hash.digest(), sha256, "standard output"));
  }

  abandon(): Promise<void> {
    return Promise.resolve();
  }
}

/** @throws Error when the two differ @returns the checksum in hex */
function checked(digest: Buffer, sha256: Uint8Array, target: string): string {
  const hex = digest.toString("hex");
  if (digest.equals(sha256)) return hex;
  throw new Error(`${target}: what arrived is not what the member sent (SHA-256 ${hex}); try again`);
}

/** The file of one snapshot. */
class SnapshotFile implements SnapshotTarget {
  private readonly temporary: string;
  private handle: FileHandle | null = null;
  private hash: Hash = createHash("sha256");

  constructor(private readonly file: string) {
    this.temporary = `${file}.tmp`;
  }

  /** Begins the file. Called again, it starts over: the client asks another member when one fails halfway. */
  async begin(): Promise<void> {
    await this.handle?.close();
    this.handle = null;
    // Readable by the owner only: the file contains every address of the cluster.
    await rm(this.temporary, { force: true });
    this.handle = await open(this.temporary, "wx", 0o600);
    this.hash = createHash("sha256");
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.handle === null) throw new Error("a chunk before the beginning");
    this.hash.update(chunk);
    await this.handle.writeFile(chunk);
  }

  /**
   * Completes the file under its final name.
   * @param sha256 the checksum that the member computed
   * @returns the same checksum in hex
   * @throws Error when the received bytes have another checksum
   */
  async finish(sha256: Uint8Array): Promise<string> {
    if (this.handle === null) throw new Error("no snapshot came");
    const hex = checked(this.hash.digest(), sha256, this.file);
    await this.handle.sync();
    await this.handle.close();
    this.handle = null;
    await rename(this.temporary, this.file);
    const folder = await open(dirname(this.file), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
    return hex;
  }

  /** Deletes the temporary file. Without effect after finish(). */
  async abandon(): Promise<void> {
    await this.handle?.close();
    this.handle = null;
    await rm(this.temporary, { force: true });
  }
}
