/** A copy of a data directory, as an operator makes one: also of a directory in use. */
import { cpSync, lstatSync } from "node:fs";

/**
 * The lock's socket is left out: it belongs to the process that holds the lock, and Node copies no sockets. So are files that
 * are being written beside the one they replace: they may be gone when it is their turn.
 */
export function copyDataDir(from: string, to: string): void {
  const isCopied = (path: string): boolean => !path.endsWith(".tmp") && !lstatSync(path).isSocket();
  cpSync(from, to, { recursive: true, filter: isCopied });
}
