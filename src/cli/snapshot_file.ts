/**
 * Writes a received snapshot to a file: first to `NAME.tmp`, which is synced and renamed, then the directory is synced.
 *
 * Invariant: a file under the final name is complete, and its SHA-256 is the one that the member computed.
 */
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { SnapshotSink } from "../client";

/** The file of one snapshot. Ends with finish() or abandon(). */
export class SnapshotFile implements SnapshotSink {
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
    this.handle = await open(this.temporary, "w", 0o600);
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
    const digest = this.hash.digest();
    if (!digest.equals(sha256)) {
      throw new Error(
        `${this.file}: what arrived is not what the member sent (SHA-256 ${digest.toString("hex")}); try again`,
      );
    }
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
    return digest.toString("hex");
  }

  /** Deletes the temporary file. Without effect after finish(). */
  async abandon(): Promise<void> {
    await this.handle?.close();
    this.handle = null;
    await rm(this.temporary, { force: true });
  }
}
