/**
 * One record of the log: a header of 16 bytes with a CRC of its own, the payload with a CRC chained from record to
 * record, and padding. docs/formats/wal.md describes the bytes.
 *
 * What the layout is for: after a power loss a reader must tell a write that did not reach the disk whole from bytes
 * that changed after they had been synced. Disks write sectors of 512 bytes (or 4096) whole, and segments are filled
 * with zeros before they are used, so what a lost write leaves are sectors that are still zero. Hence:
 * - a record starts at a multiple of 16, so that its header lies in one sector: there or zero, never half;
 * - no sector of a record is zero, or could become zero by one flipped bit: padding is 0xff, at least one byte, and a
 *   payload with a nearly empty sector is masked;
 * - the first record of a write that begins when everything before it is synced says so: no bad record in front of
 *   it can be the rest of a lost write.
 * The CRC of the header is seeded by its segment and position: no copy of a header elsewhere passes for one.
 */
import { chainCrc } from "./crc";

export const RecordType = { SegmentHead: 1, HardState: 2, Entry: 3, SnapshotMark: 4 } as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

export const HEADER_BYTES = 16;
export const ALIGN_BYTES = 16;
/** The smallest unit that a disk writes whole. */
export const SECTOR_BYTES = 512;
/** Longer payloads are refused when written and are damage when read. */
export const MAX_PAYLOAD_BYTES = 64 * 1024 * 1024;
/** Seeds the header of a segment's first record; the others are seeded by that record's CRC. */
export const HEAD_SALT = chainCrc(Buffer.from("muster.log.1"));

/** Flag: everything before this record was synced before it was written. */
export const FLAG_SYNCED = 1;

const PAD_BYTE = 0xff;

/** Bytes on disk of a record with this payload. */
export function framedSize(payloadBytes: number): number {
  return Math.ceil((HEADER_BYTES + payloadBytes + 1) / ALIGN_BYTES) * ALIGN_BYTES;
}

/** XORs with a stream drawn from `mask` (xorshift32); twice gives the original. */
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

/** Whether fewer than two bytes of [from, to) are not zero. */
function sparse(bytes: Uint8Array, from: number, to: number): boolean {
  let seen = 0;
  for (let i = from; i < to; i++) {
    if (bytes[i] !== 0 && ++seen === 2) return false;
  }
  return true;
}

/**
 * Builds the bytes of consecutive records in one buffer that is reused from write to write.
 *
 * Use: begin, then per record `reserve` (where to put the payload) and `commit`; then `bytes`.
 */
export class RecordEncoder {
  buffer: Buffer;
  /** Position in the file of buffer[0]. */
  private origin = 0;
  private length = 0;
  private salt = 0;
  private flags = 0;
  /** CRC of the last record: the seed of the next. */
  chain = 0;

  constructor(initialBytes = 64 * 1024) {
    this.buffer = Buffer.allocUnsafe(initialBytes);
  }

  /** @param synced whether all bytes of the log before `position` are durable */
  begin(position: number, chain: number, salt: number, synced: boolean): void {
    this.origin = position;
    this.length = 0;
    this.chain = chain;
    this.salt = salt;
    this.flags = synced ? FLAG_SYNCED : 0;
  }

  /** Offset where the payload of the next record goes in `buffer`, which may be another one after this call. */
  reserve(payloadBytes: number): number {
    const needed = this.length + framedSize(payloadBytes);
    if (needed > this.buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2));
      this.buffer.copy(grown, 0, 0, this.length);
      this.buffer = grown;
    }
    return this.length + HEADER_BYTES;
  }

  /** Seals the record whose payload was put at the offset that `reserve` gave. */
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
    // The position stands where the CRC will be while the CRC is taken.
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

  /** The records since `begin`; valid until the next `begin`. */
  bytes(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  /** Masks the payload in place when a sector of the record would be nearly empty. 0: not masked. */
  private maskNeeded(start: number, end: number, payload: Buffer): number {
    let mask = 0;
    while (this.hasSparseSector(start, end)) {
      if (mask !== 0) applyMask(payload, mask);
      mask++;
      applyMask(payload, mask);
    }
    return mask;
  }

  /** The first sector holds the header and the last one padding: only those between can be sparse. */
  private hasSparseSector(start: number, end: number): boolean {
    const firstBoundary = SECTOR_BYTES - ((this.origin + start) % SECTOR_BYTES);
    for (let at = start + firstBoundary; at + SECTOR_BYTES <= end; at += SECTOR_BYTES) {
      if (sparse(this.buffer, at, at + SECTOR_BYTES)) return true;
    }
    return false;
  }
}

/** What stands at one position of a segment. */
export type RecordRead =
  | {
      readonly kind: "record";
      readonly type: RecordType;
      readonly payload: Uint8Array;
      readonly start: number;
      readonly end: number;
    }
  /** The clean end: zeros, or the end of the file. */
  | { readonly kind: "end"; readonly at: number }
  /** A write that did not reach the disk whole; what is bad ends before `end`. */
  | { readonly kind: "torn"; readonly at: number; readonly end: number; readonly what: string }
  | { readonly kind: "damage"; readonly at: number; readonly what: string };

const ZEROS = Buffer.alloc(64 * 1024);

/** Position of the first byte of [from, to) that is not zero, or -1. */
export function firstNonZero(bytes: Buffer, from: number, to: number): number {
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

/** Position after the last byte of [from, to) that is not zero, or `from`. */
export function endOfNonZero(bytes: Buffer, from: number, to: number): number {
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
  /** Position of the next record: after the last good one. */
  position = 0;
  /** CRC of the last good record. */
  chain = 0;

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

  /** Position of a header after `at` which says that everything before it was synced, or -1. */
  private syncedRecordAfter(at: number): number {
    const end = this.bytes.length - HEADER_BYTES;
    let from = Math.floor(at / ALIGN_BYTES) * ALIGN_BYTES + ALIGN_BYTES;
    while (from <= end) {
      const nonZero = firstNonZero(this.bytes, from, this.bytes.length);
      if (nonZero === -1) return -1;
      from = Math.floor(nonZero / ALIGN_BYTES) * ALIGN_BYTES;
      if (from > end) return -1;
      // Cheap tests first: nearly all places fail them.
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
