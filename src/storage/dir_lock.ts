/**
 * Locks a directory for one process. Two parts, both released by the kernel when the process ends, even by SIGKILL, so
 * that a lock is never left over:
 *
 * 1. a listening local socket named after the directory's device and inode: two paths to one directory share one lock.
 *    Linux: an abstract socket, which has no file at all (unix(7)) but belongs to the network namespace. Windows: a named
 *    pipe. Other systems: a socket file in the temporary directory, which is replaced when no process listens on it.
 * 2. except on Windows: a socket file in the directory (socket_lock.ts), which holds across network namespaces.
 *
 * The first decides between two starters of one namespace at once, and holds against versions that know only it. Where
 * the file system takes no sockets it is the only one, and the lock says so in its warning. Nothing here holds between two
 * machines that share a network file system.
 */
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import type { DirLock, FsCallback, FsError } from "./fs";
import { call, run } from "./fs_calls";
import { takeSocketLock } from "./socket_lock";

function busy(): NodeJS.ErrnoException {
  return Object.assign(new Error("the directory is in use by another process"), { code: "EBUSY" });
}

function listen(address: string, done: FsCallback<DirLock>): void {
  const server = net.createServer((socket) => {
    socket.destroy();
  });
  server.once("error", (error) => {
    done(error, undefined);
  });
  server.listen({ path: address, exclusive: true }, () => {
    server.removeAllListeners("error");
    // A connection that fails later must not end the process, and the lock must not keep the process alive.
    server.on("error", () => undefined);
    server.unref();
    done(null, {
      release(released) {
        server.close(() => {
          released(null);
        });
      },
    });
  });
}

/** A killed process leaves its socket file behind. The file is stale when no process listens on it. */
function listenOnFile(file: string, done: FsCallback<DirLock>): void {
  listen(file, (error, lock) => {
    if (error === null) {
      done(null, lock);
      return;
    }
    if (error.code !== "EADDRINUSE") {
      done(error, undefined);
      return;
    }
    const probe = net.connect(file);
    probe.once("connect", () => {
      probe.destroy();
      done(busy(), undefined);
    });
    probe.once("error", () => {
      fs.unlink(file, () => {
        listen(file, done);
      });
    });
  });
}

/** Takes the lock of the directory with this device and inode in this network namespace. */
function listenLock(device: bigint, inode: bigint, done: FsCallback<DirLock>): void {
  const name = `muster-${device}-${inode}`;
  const answer: FsCallback<DirLock> = (error, lock) => {
    if (error === null) done(null, lock);
    else done(error.code === "EADDRINUSE" ? busy() : error, undefined);
  };
  if (process.platform === "linux") listen(`\0${name}`, answer);
  else if (process.platform === "win32") listen(`\\\\.\\pipe\\${name}`, answer);
  else listenOnFile(path.join(os.tmpdir(), `${name}.lock`), answer);
}

/** Takes both parts of the lock of `dir`. Rejects with EBUSY when a process has one. */
async function lockBoth(dir: string): Promise<DirLock> {
  const { dev, ino } = await fs.promises.stat(dir, { bigint: true });
  const first = await call<DirLock>((done) => {
    listenLock(dev, ino, done);
  });
  if (process.platform === "win32") return first;
  const releaseFirst = (): Promise<void> =>
    run((done) => {
      first.release(done);
    });
  try {
    const second = await takeSocketLock(dir);
    if (second.kind === "busy") throw busy();
    if (second.kind === "unsupported") return { ...first, warning: weakerLock(dir, second.code) };
    return {
      release: (released) => {
        void second.socket
          .release()
          .then(releaseFirst)
          .then(
            () => {
              released(null);
            },
            (error: unknown) => {
              released(error as FsError);
            },
          );
      },
    };
  } catch (error) {
    await releaseFirst();
    throw error;
  }
}

function weakerLock(dir: string, code: string): string {
  return (
    `no socket can be made in ${dir} (${code}): its lock does not hold across network namespaces. Make sure that no ` +
    "other container starts a member on this directory"
  );
}

/** Takes the lock of a directory. Fails with EBUSY when a process has the lock. */
export function lockDirectory(dir: string, done: FsCallback<DirLock>): void {
  lockBoth(dir).then(
    (lock) => {
      done(null, lock);
    },
    (error: unknown) => {
      done(error as FsError, undefined);
    },
  );
}
