/**
 * The part of a directory's lock that lies in the directory: a listening socket file. Path sockets are found through the
 * file system, so the lock holds for processes in other network namespaces (containers that mount one volume), and the
 * kernel ends it with the process, also by SIGKILL. A stopped process (SIGSTOP) keeps it.
 *
 * Two starters can't both get it, and no file of a live holder is ever deleted: every starter has a file name of its own,
 * drawn at random and never used again. It listens under a temporary name, renames the file to `LOCK-...`, and only then
 * looks for the others' files. Of two starters at least one sees the other; who sees a live one withdraws, waits for a random
 * time, and tries again a few times. A file on which no process listens is left over from a killed process and is deleted.
 *
 * unix(7): a socket's address has at most 107 bytes, so the directory is reached through /proc/self/fd where there is one.
 * docs/adr/0019-the-lock-lies-in-the-directory.md
 */
import { randomBytes, randomInt } from "node:crypto";
import { existsSync } from "node:fs";
import { open, readdir, rename, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import * as net from "node:net";

const LOCK_NAME = /^LOCK-[0-9a-f]{16}$/;
const TEMPORARY_NAME = /^LOCK-[0-9a-f]{16}\.tmp$/;
/** Tries while another live lock is seen. Two starters at once see each other at most this often. */
const ATTEMPTS = 6;
const BACKOFF_MS = { min: 5, max: 60 };
/** Longest path of a socket on every system that Node supports. */
const PATH_BYTES_MAX = 103;
/** Errors that are not a property of the file system: they are passed on. */
const PASSED_ON: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "EMFILE", "ENFILE"]);

interface HeldSocket {
  release(): Promise<void>;
}

type SocketLock =
  | { readonly kind: "held"; readonly socket: HeldSocket }
  | { readonly kind: "busy" }
  /** No socket can be made here: the file system has none, is read-only or full. No other process has the lock. */
  | { readonly kind: "unsupported"; readonly code: string };

/** @throws the system's error when the directory is not there, or the process has no file descriptor left */
export async function takeSocketLock(dir: string): Promise<SocketLock> {
  const folder = await open(dir, "r");
  let taken: SocketLock | null = null;
  try {
    const through = `/proc/self/fd/${folder.fd}`;
    taken = await take(existsSync(through) ? through : dir, folder);
    return taken;
  } finally {
    if (taken?.kind !== "held") await folder.close();
  }
}

async function take(base: string, folder: FileHandle): Promise<SocketLock> {
  for (let attempt = 1; ; attempt++) {
    if (!(await othersLive(base, null))) {
      const outcome = await publish(base, folder);
      if (outcome !== null) return outcome;
    }
    if (attempt === ATTEMPTS) return { kind: "busy" };
    const waitMs = randomInt(BACKOFF_MS.min, BACKOFF_MS.max);
    await new Promise<void>((resolve) => setTimeout(resolve, waitMs));
  }
}

/** Makes the own file, then looks for others. @returns null when there is another one, after withdrawing */
async function publish(base: string, folder: FileHandle): Promise<SocketLock | null> {
  const name = `LOCK-${randomBytes(8).toString("hex")}`;
  const file = `${base}/${name}`;
  const temporary = `${file}.tmp`;
  if (Buffer.byteLength(temporary) > PATH_BYTES_MAX) return { kind: "unsupported", code: "ENAMETOOLONG" };
  let server: net.Server;
  try {
    server = await listen(temporary);
  } catch (error) {
    return unsupported(error);
  }
  const withdraw = async (): Promise<void> => {
    await quietly(unlink(file));
    await closed(server);
  };
  try {
    await rename(temporary, file);
    if (!(await othersLive(base, name))) {
      const release = async (): Promise<void> => {
        await withdraw();
        await folder.close();
      };
      return { kind: "held", socket: { release } };
    }
  } catch (error) {
    await withdraw();
    // Another starter took the temporary file for a leftover, in the moment before this process listened on it.
    if (codeOf(error) === "ENOENT") return null;
    return unsupported(error);
  }
  await withdraw();
  return null;
}

/** @throws the error when it says nothing of the file system */
function unsupported(error: unknown): SocketLock {
  const code = codeOf(error);
  if (PASSED_ON.has(code)) throw error;
  return { kind: "unsupported", code };
}

/** Whether a process listens on a lock file other than `own`. Deletes the files on which none does. */
async function othersLive(base: string, own: string | null): Promise<boolean> {
  let live = false;
  for (const name of await readdir(base)) {
    const temporary = TEMPORARY_NAME.test(name);
    if (name === own || (!temporary && !LOCK_NAME.test(name))) continue;
    const state = await probe(`${base}/${name}`);
    if (state === "stale") await quietly(unlink(`${base}/${name}`));
    // A temporary file is of a starter that has yet to look for this one.
    live ||= state === "live" && !temporary;
  }
  return live;
}

/** Any answer but a refusal counts as live: a full queue of a stopped process, or a file of another user. */
function probe(file: string): Promise<"live" | "stale" | "gone"> {
  return new Promise((resolve) => {
    const socket = net.connect(file);
    socket.once("connect", () => {
      socket.destroy();
      resolve("live");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") resolve("stale");
      else resolve(error.code === "ENOENT" ? "gone" : "live");
    });
  });
}

function listen(file: string): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => {
      socket.destroy();
    });
    server.once("error", reject);
    // Every user may connect: a starter of another user must be able to tell a live lock from a leftover.
    server.listen({ path: file, exclusive: true, writableAll: true }, () => {
      server.removeAllListeners("error");
      // A connection that fails later must not end the process, and the lock must not keep the process alive.
      server.on("error", () => undefined);
      server.unref();
      resolve(server);
    });
  });
}

function closed(server: net.Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}

async function quietly(work: Promise<void>): Promise<void> {
  await work.catch(() => undefined);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "unknown";
}
