/**
 * The records of the log: a header of 16 bytes with its own CRC, the payload with a CRC chained from record to record,
 * and padding. docs/formats/wal.md describes the bytes.
 *
 * The layout lets a reader distinguish, after a power loss, a write that reached the disk only in part from bytes that
 * changed after they had been synced. Disks write whole sectors of 512 bytes (or 4096), and segments are filled with
 * zeros before use, so the missing parts of a write are sectors of zeros. Therefore:
 * - a record starts at a multiple of 16: its header lies in one sector and is either written or zero;
 * - no sector of a record is all zero, nor one flipped bit away from it: padding is 0xff and at least one byte long, and
 *   a payload with a nearly empty sector is masked;
 * - a flag marks the first record of a write that started when everything before it was synced: a bad record before the
 *   flag is damage, not the rest of a lost write.
 * The CRC of a header is seeded by its segment and position: a copy of a header at another place is not valid.
 */
import { chainCrc } from "./crc";

export const RecordType = { SegmentHead: 1, HardState: 2, Entry: 3, SnapshotMark: 4 } as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

export const HEADER_BYTES = 16;
export const ALIGN_BYTES = 16;
/** The smallest unit that disks write as a whole. */
export const SECTOR_BYTES = 512;
/** Largest payload. A longer one is refused by the writer and is damage for the reader. */
export const MAX_PAYLOAD_BYTES = 64 * 1024 * 1024;
/** Seed of the CRC of a segment's first header. That record's CRC is the seed for the other headers. */
export const HEAD_SALT = chainCrc(Buffer.from("muster.log.1"));

/** Flag: everything before this record was synced before it was written. */
const FLAG_SYNCED = 1;

const PAD_BYTE = 0xff;

/** Size on disk of a record with this payload, in bytes. */
export function framedSize(payloadBytes: number): number {
  return Math.ceil((HEADER_BYTES + payloadBytes + 1) / ALIGN_BYTES) * ALIGN_BYTES;
}

/** XORs `bytes` with a pseudorandom stream seeded by `mask` (xorshift32). Applied twice it restores the original. */
function applyMask(bytes: Uint8Array, mask: number): void {
  let x = (mask * 0x9e3779b1) | 1;
  for (let i = 0; i < bytes.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    // The index is inside the array by the loop's condition.
    bytes[i]! ^= x & 0xff;
  }
}

/** Whether [from, to) has fewer than two nonzero bytes. */
function sparse(bytes: Uint8Array, from: number, to: number): boolean {
  let seen = 0;
  for (let i = from; i < to; i++) {
    if (bytes[i] !== 0 && ++seen === 2) return false;
  }
  return true;
}

/**
 * Encodes consecutive records into one buffer, which is reused from write to write.
 *
 * Order of calls: `begin`; for each record `reserve`, which returns where to put the payload, and `commit`; then `bytes`.
 */
export class RecordEncoder {
  buffer: Buffer;
  /** Position in the file of the buffer's first byte. */
  private origin = 0;
  private length = 0;
  private salt = 0;
  private flags = 0;
  /** CRC of the last record: the seed of the next record's CRC. */
  chain = 0;

  constructor(initialBytes = 64 * 1024) {
    this.buffer = Buffer.allocUnsafe(initialBytes);
  }

  /** Starts a write at `position`. @param synced whether the log before `position` is durable */
  begin(position: number, chain: number, salt: number, synced: boolean): void {
    this.origin = position;
    this.length = 0;
    this.chain = chain;
    this.salt = salt;
    this.flags = synced ? FLAG_SYNCED : 0;
  }

  /** Returns the offset in `buffer` for the payload of the next record. The call may replace `buffer` by a larger one. */
  reserve(payloadBytes: number): number {
    const needed = this.length + framedSize(payloadBytes);
    if (needed > this.buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2));
      this.buffer.copy(grown, 0, 0, this.length);
      this.buffer = grown;
    }
    return this.length + HEADER_BYTES;
  }

  /** Completes the record whose payload was written at the offset from `reserve`. */
  commit(type: RecordType, payloadBytes: number): void {
    const { buffer } = this;
    const start = this.length;
    const payloadAt = start + HEADER_BYTES;
    const end = start + framedSize(payloadBytes);
    buffer.fill(PAD_BYTE, payloadAt + payloadBytes, end);
    const payload = buffer.subarray(payloadAt, payloadAt + payloadBytes);
    const mask = this.maskNeeded(start, end, payload);
    this.chain = chainCrc(payload, type === RecordType.SegmentHead ? 0 : this.chain);
    buffer.writeUInt32LE(payloadBytes, start);
    buffer[start + 4] = type;
    buffer[start + 5] = this.flags;
    buffer.writeUInt16LE(mask, start + 6);
    buffer.writeUInt32LE(this.chain, start + 8);
    // While the CRC is computed, its place holds the position.
    buffer.writeUInt32LE(this.origin + start, start + 12);
    buffer.writeUInt32LE(chainCrc(buffer.subarray(start, start + HEADER_BYTES), this.salt), start + 12);
    this.flags = 0;
    this.length = end;
    if (type === RecordType.SegmentHead) this.salt = this.chain;
  }

  add(type: RecordType, payload: Uint8Array): void {
    const at = this.reserve(payload.length);
    this.buffer.set(payload, at);
    this.commit(type, payload.length);
  }

  get headerSalt(): number {
    return this.salt;
  }

  get sizeBytes(): number {
    return this.length;
  }

  /** The records since `begin`. Valid until the next `begin`. */
  bytes(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  /** Masks the payload in place while a sector of the record is nearly empty. Returns the mask, 0 for none. */
  private maskNeeded(start: number, end: number, payload: Buffer): number {
    let mask = 0;
    while (this.hasSparseSector(start, end)) {
      if (mask !== 0) applyMask(payload, mask);
      mask++;
      applyMask(payload, mask);
    }
    return mask;
  }

  /** Only sectors between the first, with the header, and the last, with padding, can be nearly empty. */
  private hasSparseSector(start: number, end: number): boolean {
    const firstBoundary = SECTOR_BYTES - ((this.origin + start) % SECTOR_BYTES);
    for (let at = start + firstBoundary; at + SECTOR_BYTES <= end; at += SECTOR_BYTES) {
      if (sparse(this.buffer, at, at + SECTOR_BYTES)) return true;
    }
    return false;
  }
}

/** Result of reading at one position of a segment. */
export type RecordRead =
  | {
      readonly kind: "record";
      readonly type: RecordType;
      readonly payload: Uint8Array;
      readonly start: number;
      readonly end: number;
    }
  /** The end of the log: only zeros follow, or nothing. */
  | { readonly kind: "end"; readonly at: number }
  /** A write that reached the disk only in part. Its last nonzero byte is before `end`. */
  | { readonly kind: "torn"; readonly at: number; readonly end: number; readonly what: string }
  /** Bytes that changed after they were synced. */
  | { readonly kind: "damage"; readonly at: number; readonly what: string };

const ZEROS = Buffer.alloc(64 * 1024);

/** Position of the first nonzero byte of [from, to), or -1. */
function firstNonZero(bytes: Buffer, from: number, to: number): number {
  let at = from;
  while (at < to) {
    const chunkEnd = Math.min(to, at + ZEROS.length);
    if (bytes.compare(ZEROS, 0, chunkEnd - at, at, chunkEnd) !== 0) {
      while (bytes[at] === 0) at++;
      return at;
    }
    at = chunkEnd;
  }
  return -1;
}

/** Position after the last nonzero byte of [from, to), or `from`. */
function endOfNonZero(bytes: Buffer, from: number, to: number): number {
  let end = to;
  while (end > from) {
    const chunk = Math.max(from, end - ZEROS.length);
    if (bytes.compare(ZEROS, 0, end - chunk, chunk, end) !== 0) {
      while (bytes[end - 1] === 0) end--;
      return end;
    }
    end = chunk;
  }
  return from;
}

interface Header {
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly mask: number;
  readonly crc: number;
}

/** Reads the records of one segment from its bytes. */
export class RecordReader {
  private readonly bytes: Buffer;
  private readonly scratch = Buffer.alloc(HEADER_BYTES);
  private salt = HEAD_SALT;
  /** Position of the next record: the end of the last valid one. */
  position = 0;
  /** CRC of the last valid record. */
  chain = 0;
  /** Position of the last valid record whose flag says that everything before it was synced. */
  syncedUpTo = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get headerSalt(): number {
    return this.salt;
  }

  next(): RecordRead {
    const at = this.position;
    const size = this.bytes.length;
    const nonZero = firstNonZero(this.bytes, at, size);
    if (nonZero === -1) return { kind: "end", at };
    if (at + HEADER_BYTES > size) return this.bad(at, "the file ends inside a record's header", true);
    if (nonZero >= at + HEADER_BYTES) return this.bad(at, "a record's first sector is missing", true);
    const header = this.headerAt(at);
    if (header === null) return this.bad(at, "a record's header does not match its checksum", false);
    const end = at + framedSize(header.length);
    if (end > size) return this.bad(at, "the file ends inside a record", true);
    const payloadEnd = at + HEADER_BYTES + header.length;
    const stored = this.bytes.subarray(at + HEADER_BYTES, payloadEnd);
    const crc = chainCrc(stored, header.type === RecordType.SegmentHead ? 0 : this.chain);
    if (crc !== header.crc || !this.padded(payloadEnd, end)) {
      const torn = this.hasZeroSector(at, end);
      const what = torn ? "a part of a record is missing" : "a record does not match its checksum";
      return this.bad(at, what, torn);
    }
    if (!isRecordType(header.type)) return this.bad(at, `unknown type ${header.type} of a record`, false);
    this.position = end;
    this.chain = crc;
    if ((header.flags & FLAG_SYNCED) !== 0) this.syncedUpTo = at;
    if (header.type === RecordType.SegmentHead) this.salt = crc;
    return { kind: "record", type: header.type, payload: unmasked(stored, header.mask), start: at, end };
  }

  private bad(at: number, what: string, torn: boolean): RecordRead {
    if (!torn) return { kind: "damage", at, what };
    const later = this.syncedRecordAfter(at);
    if (later !== -1)
      return { kind: "damage", at, what: `${what}, and synced records follow at byte ${later}` };
    return { kind: "torn", at, end: endOfNonZero(this.bytes, at, this.bytes.length), what };
  }

  private headerAt(at: number): Header | null {
    const { bytes, scratch } = this;
    bytes.copy(scratch, 0, at, at + HEADER_BYTES);
    scratch.writeUInt32LE(at, 12);
    if (chainCrc(scratch, this.salt) !== bytes.readUInt32LE(at + 12)) return null;
    const length = bytes.readUInt32LE(at);
    if (length > MAX_PAYLOAD_BYTES) return null;
    return {
      length,
      type: bytes.readUInt8(at + 4),
      flags: bytes.readUInt8(at + 5),
      mask: bytes.readUInt16LE(at + 6),
      crc: bytes.readUInt32LE(at + 8),
    };
  }

  /** Position of a header after `at` with the flag for "everything before is synced", or -1. */
  private syncedRecordAfter(at: number): number {
    const end = this.bytes.length - HEADER_BYTES;
    let from = Math.floor(at / ALIGN_BYTES) * ALIGN_BYTES + ALIGN_BYTES;
    while (from <= end) {
      const nonZero = firstNonZero(this.bytes, from, this.bytes.length);
      if (nonZero === -1) return -1;
      from = Math.floor(nonZero / ALIGN_BYTES) * ALIGN_BYTES;
      if (from > end) return -1;
      // These cheap checks exclude nearly all positions.
      if (this.bytes[from + 5] === FLAG_SYNCED && (this.bytes[from + 4] ?? 0) !== 0) {
        if (this.headerAt(from) !== null) return from;
      }
      from += ALIGN_BYTES;
    }
    return -1;
  }

  private padded(from: number, to: number): boolean {
    for (let i = from; i < to; i++) if (this.bytes[i] !== PAD_BYTE) return false;
    return true;
  }

  private hasZeroSector(start: number, end: number): boolean {
    let at = start;
    while (at < end) {
      const sectorEnd = Math.min(end, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES);
      if (firstNonZero(this.bytes, at, sectorEnd) === -1) return true;
      at = sectorEnd;
    }
    return false;
  }
}

function unmasked(stored: Buffer, mask: number): Uint8Array {
  if (mask === 0) return stored;
  const copy = Uint8Array.from(stored);
  applyMask(copy, mask);
  return copy;
}

function isRecordType(type: number): type is RecordType {
  return type >= RecordType.SegmentHead && type <= RecordType.SnapshotMark;
}
