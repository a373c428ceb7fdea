/**
 * Records that are queued but not yet written, and their encoding.
 */
import type { HardState } from "../raft/index";
import { encodeHardState, encodeSnapshotMark, writeEntry } from "./entry_codec";
import type { EncodableEntry, SnapshotMark } from "./entry_codec";
import { framedSize, RecordType, type RecordEncoder } from "./record";

/** One record to write. */
export type PendingRecord =
  | { readonly kind: "hard-state"; readonly state: HardState; readonly payload: Uint8Array }
  | { readonly kind: "entry"; readonly encodable: EncodableEntry }
  | { readonly kind: "mark"; readonly mark: SnapshotMark; readonly payload: Uint8Array };

export function hardStateRecord(state: HardState): PendingRecord {
  return { kind: "hard-state", state, payload: encodeHardState(state) };
}

export function markRecord(mark: SnapshotMark): PendingRecord {
  return { kind: "mark", mark, payload: encodeSnapshotMark(mark) };
}

/** Size of the record in the log, with header and padding. Unit: bytes. */
export function recordBytes(record: PendingRecord): number {
  return framedSize(record.kind === "entry" ? record.encodable.sizeBytes : record.payload.length);
}

export function encodeRecord(encoder: RecordEncoder, record: PendingRecord): void {
  if (record.kind === "hard-state") encoder.add(RecordType.HardState, record.payload);
  else if (record.kind === "mark") encoder.add(RecordType.SnapshotMark, record.payload);
  else {
    const { sizeBytes } = record.encodable;
    const at = encoder.reserve(sizeBytes);
    writeEntry(encoder.buffer, at, record.encodable);
    encoder.commit(RecordType.Entry, sizeBytes);
  }
}
