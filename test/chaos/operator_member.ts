/**
 * A member in the hands of the random operator: its process, its data directory on a small disk of its own where one can be
 * mounted, and what the operator did to it.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemberProcess } from "../e2e/support/process_cluster";
import type { MemberSpec } from "../e2e/support/process_cluster";

/** Short, so that 150 operations take minutes. Milliseconds. */
export const HEARTBEAT_MS = 50;
export const ELECTION_MS = 500;

/** Room for the log of a whole run. What is not used takes no memory. */
const DISK_BYTES = 48 * 1024 * 1024;
const BALLAST = "ballast";

export class OperatedMember extends MemberProcess {
  /** Why its directory counts as tampered with: it may stop, and nobody may rely on it. Null while it is intact. */
  tampered: string | null = null;
  /** It was started at another address than the roster had, and the roster has to follow. */
  follows = false;
  /** The operator ended its process. */
  ended = false;
  /** Older copies of its directory, oldest first. */
  readonly copies: string[] = [];
  private mounted = false;

  constructor(
    spec: MemberSpec,
    private readonly onSmallDisk: boolean,
  ) {
    super(spec);
  }

  override get words(): string[] {
    const intervals = [
      "--heartbeat-interval",
      String(HEARTBEAT_MS),
      "--election-timeout",
      String(ELECTION_MS),
    ];
    return [...super.words, ...intervals];
  }

  /** Whether a process of it ended without the operator. */
  get endedByItself(): boolean {
    return this.wasStarted && !this.running && !this.ended;
  }

  get hasDirectory(): boolean {
    return existsSync(join(this.spec.dataDir, "member"));
  }

  /** Starts the process with this list of members. */
  startWith(initialCluster: string): void {
    this.spec = { ...this.spec, initialCluster };
    this.mountDisk();
    this.ended = false;
    this.start();
  }

  /** Puts the data directory on its small disk, before anything is written there. */
  mountDisk(): void {
    if (!this.onSmallDisk || this.mounted) return;
    mount(this.spec.dataDir);
    this.mounted = true;
  }

  /** Ends the process as a service manager does or, `hard`, with SIGKILL. @returns why that went wrong, or null */
  async end(hard: boolean): Promise<string | null> {
    if (!this.running) return null;
    this.ended = true;
    if (hard) {
      await this.kill();
      return null;
    }
    const { code, signal } = await this.stop();
    return code === 0 ? null : `${this.name} ended with ${code ?? signal ?? "nothing"} at SIGTERM`;
  }

  /** Copies the directory of the ended member, with the socket of its lock where a killed process left one. */
  copyTo(dir: string): void {
    copyAll(this.spec.dataDir, dir);
  }

  /** Empties the directory, and fills it with that copy unless it is null. */
  replaceDirectory(copy: string | null): void {
    const { dataDir } = this.spec;
    spawnSync("find", [dataDir, "-mindepth", "1", "-delete"]);
    if (copy !== null) copyAll(copy, dataDir);
  }

  /** Fills what is left of the small disk. */
  fillDisk(): void {
    const file = join(this.spec.dataDir, BALLAST);
    for (const size of [1024 * 1024, 16 * 1024]) {
      for (;;) {
        try {
          writeFileSync(file, Buffer.alloc(size, 1), { flag: "a" });
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
          break;
        }
      }
    }
  }

  freeDisk(): void {
    rmSync(join(this.spec.dataDir, BALLAST), { force: true });
  }

  /** Gives the disk back. @param keptIn where the directory is copied first; null: nowhere */
  release(keptIn: string | null): void {
    this.client.close();
    if (!this.mounted) return;
    this.freeDisk();
    if (keptIn !== null) this.copyTo(keptIn);
    unmount(this.spec.dataDir);
    this.mounted = false;
  }
}

/** As an operator would copy it; Node's own copy refuses sockets. @throws Error with the system's text */
function copyAll(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  const { status, stderr, error } = spawnSync("cp", ["-a", `${from}/.`, to], { encoding: "utf8" });
  if (status !== 0) throw new Error(error?.message ?? stderr.trim());
}

const mounts = new Set<string>();

/** Lazily: a process may still run there when this one ends early. */
function unmount(dir: string): void {
  spawnSync("umount", ["-l", dir]);
  mounts.delete(dir);
}

/** Gives every small disk back that is left. Also called at the end of this process. */
function unmountAll(): void {
  for (const dir of mounts) unmount(dir);
}

/** @throws Error with the system's text */
function mount(dir: string): void {
  mkdirSync(dir, { recursive: true });
  const options = ["-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "tmpfs", dir];
  const { status, stderr, error } = spawnSync("mount", options, { encoding: "utf8" });
  if (status !== 0) throw new Error(error?.message ?? stderr.trim());
  if (mounts.size === 0) {
    process.removeListener("exit", unmountAll);
    process.once("exit", unmountAll);
  }
  mounts.add(dir);
}

/** Whether a small disk can be mounted here. */
export function canMount(): boolean {
  const dir = mkdtempSync(join(tmpdir(), "muster-operator-disk-"));
  try {
    mount(dir);
    unmount(dir);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
