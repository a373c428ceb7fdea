/**
 * File descriptors kept open and unused, to be closed when the process has none left: the log can then still create its
 * next file or sync a directory, also while idle connections hold every other descriptor.
 *
 * A descriptor that is given up is used in the same turn of the event loop, so that no connection takes it.
 */
import { closeSync, openSync } from "node:fs";
import { devNull } from "node:os";
import { isNoDescriptor } from "./errors";
import type { FsError } from "./fs";

/** One for a file that is being created, one for the sync of its directory. */
const RESERVE = 2;

const held: number[] = [];

/** Opens what is missing from the reserve, as far as there are descriptors. */
export function fillReserve(): void {
  while (held.length < RESERVE) {
    try {
      held.push(openSync(devNull, "r"));
    } catch {
      return;
    }
  }
}

/**
 * Opens with a descriptor of the reserve.
 *
 * @param error why opening failed before
 * @returns the new descriptor; null when the error is another one, or the reserve is used up
 */
export function openFromReserve(error: FsError, open: () => number): number | null {
  if (!isNoDescriptor(error)) return null;
  const spare = held.pop();
  if (spare === undefined) return null;
  closeSync(spare);
  try {
    return open();
  } catch {
    return null;
  }
}
