/**
 * A snapshot on its way into a file: written beside under `NAME.tmp`, synced, renamed, and the directory synced, so that
 * a file under its name is whole. What the member says it sent is compared with what was written here.
 */
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { SnapshotSink } from "../client";

export class SnapshotFile implements SnapshotSink {
  private readonly temporary: string;
  private handle: FileHandle | null = null;
  private hash: Hash = createHash("sha256");

  constructor(private readonly file: string) {
    this.temporary = `${file}.tmp`;
  }

  /** Begins anew: another member is asked when one fails halfway. */
  async begin(): Promise<void> {
    await this.handle?.close();
    this.handle = null;
    // Nobody else's business: it holds every address of the cluster.
    this.handle = await open(this.temporary, "w", 0o600);
    this.hash = createHash("sha256");
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.handle === null) throw new Error("a chunk before the beginning");
    this.hash.update(chunk);
    await this.handle.writeFile(chunk);
  }

  /**
   * The file gets its name.
   * @param sha256 what the member computed
   * @returns the same, in hex
   * @throws Error when the bytes here are others
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

  /** Leaves nothing behind. Without effect after finish. */
  async abandon(): Promise<void> {
    await this.handle?.close();
    this.handle = null;
    await rm(this.temporary, { force: true });
  }
}
