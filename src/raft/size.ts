/**
 * How many bytes an entry counts for in the limits of messages, Readys and proposals. An estimate that every member
 * computes alike, near the encoded size and never below the payload; limits are soft by one entry anyway.
 */
import type { Entry } from "./types";

/** Term, index, type and framing of one encoded entry, rounded up. */
const ENTRY_OVERHEAD_BYTES = 24;
/** Type and id of one step of a membership change, rounded up. */
const CHANGE_BYTES = 12;

/** Bytes that the proposer caused: 0 for an empty entry and for the empty change that leaves a joint configuration. */
export function payloadSize(entry: Entry): number {
  const change = entry.confChange;
  if (change === null) return entry.data.length;
  return entry.data.length + change.context.length + change.changes.length * CHANGE_BYTES;
}

/** Bytes of one entry on the wire and on disk, about. */
export function entrySize(entry: Entry): number {
  return ENTRY_OVERHEAD_BYTES + payloadSize(entry);
}

export function entriesSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entrySize(entry);
  return size;
}

export function payloadsSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += payloadSize(entry);
  return size;
}

/** How many of `entries` fit into `maxBytes`, from the first on; at least one when there is one. */
export function countWithin(entries: readonly Entry[], maxBytes: number): number {
  if (maxBytes === Infinity) return entries.length;
  let size = 0;
  let count = 0;
  for (const entry of entries) {
    size += entrySize(entry);
    if (count > 0 && size > maxBytes) break;
    count++;
  }
  return count;
}
