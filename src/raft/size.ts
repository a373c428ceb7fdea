/**
 * The size of an entry in bytes, as the limits of messages, Readys and proposals count it. An estimate, equal on every
 * member, close to the encoded size and never below the payload. A limit may be exceeded by one entry in any case.
 */
import type { Entry } from "./types";

/** Term, index, type and framing of one encoded entry, rounded up. */
const ENTRY_OVERHEAD_BYTES = 24;
/** Type and id of one step of a configuration change, rounded up. */
const CHANGE_BYTES = 12;

/** Bytes of the proposer's data: 0 for an empty entry, and for a change without steps or context. */
function payloadSize(entry: Entry): number {
  const change = entry.confChange;
  if (change === null) return entry.data.length;
  return entry.data.length + change.context.length + change.changes.length * CHANGE_BYTES;
}

/** Approximate bytes of one entry on the wire and on disk. */
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

/** The number of leading entries that fit into `maxBytes`; at least one unless `entries` is empty. */
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
