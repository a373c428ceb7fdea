/** A copy of a data directory, as an operator makes one: also of a directory in use. */
import { cpSync, lstatSync } from "node:fs";

/** The lock's socket is left out: it belongs to the process that holds the lock, and Node copies no sockets. */
export function copyDataDir(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !lstatSync(path).isSocket() });
}
