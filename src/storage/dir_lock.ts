/**
 * Locks a directory for one process. The lock is a listening local socket named after the directory's device and inode:
 * two paths to one directory share one lock, and the kernel releases the lock when the process ends, even by SIGKILL.
 * So a lock is never left over.
 *
 * Linux: an abstract socket, which has no file at all (unix(7)). An abstract socket belongs to the network namespace:
 * two containers that mount one volume do not see each other's lock. There the handshake between members refuses the
 * second process. Windows: a named pipe. Other systems: a socket file in the temporary directory, which is replaced
 * when no process listens on it.
 */
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import type { DirLock, FsCallback } from "./fs";

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

/** Takes the lock of the directory with this device and inode. Fails with EBUSY when a process has the lock. */
export function listenLock(device: bigint, inode: bigint, done: FsCallback<DirLock>): void {
  const name = `muster-${device}-${inode}`;
  const answer: FsCallback<DirLock> = (error, lock) => {
    if (error === null) done(null, lock);
    else done(error.code === "EADDRINUSE" ? busy() : error, undefined);
  };
  if (process.platform === "linux") listen(`\0${name}`, answer);
  else if (process.platform === "win32") listen(`\\\\.\\pipe\\${name}`, answer);
  else listenOnFile(path.join(os.tmpdir(), `${name}.lock`), answer);
}
