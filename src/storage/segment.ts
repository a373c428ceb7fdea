/**
 * Segment files: names, the head record, and the creation of a segment.
 *
 * A segment is written under a temporary name (`.tmp`), filled with zeros, synced and renamed, and its directory is
 * synced, before records are appended to it. So a segment under its final name always has an intact head. The zeros are
 * on disk before they are overwritten, so writing a record neither needs space nor changes the size of the file.
 */
import { diskFullError, finalIoError, isNoSpace } from "./errors";
import { encodeSegmentHead, decodeSegmentHead, type SegmentHead, type StoredIdentity } from "./entry_codec";
import type { FsDone, FsError, StorageFile, StorageFs } from "./fs";
import { series } from "./fs_calls";
import { HEAD_SALT, RecordEncoder, RecordType } from "./record";
import type { StorageError } from "./storage";

const SEGMENT_NAME = /^(\d{16})\.wal$/;
const NAME_DIGITS = 16;
/** Zeros are written in chunks of this size. */
const ZERO_CHUNK = Buffer.alloc(1024 * 1024);
const CHAIN_BYTES = 4;

export function segmentName(sequence: number): string {
  return `${String(sequence).padStart(NAME_DIGITS, "0")}.wal`;
}

/** The sequence number in a segment's name, or null for other names. */
export function segmentSequence(name: string): number | null {
  const match = SEGMENT_NAME.exec(name);
  return match === null ? null : Number(match[1]);
}

/** Joins with "/", which every platform accepts. */
export function joinPath(dir: string, name: string): string {
  return `${dir}/${name}`;
}

/** The payload of a head record: the CRC of the last record of the segment before (0 for none), then the message. */
export function encodeHeadPayload(chain: number, head: SegmentHead): Uint8Array {
  const message = encodeSegmentHead(head);
  const payload = Buffer.alloc(CHAIN_BYTES + message.length);
  payload.writeUInt32LE(chain, 0);
  payload.set(message, CHAIN_BYTES);
  return payload;
}

/** @throws CodecError */
export function decodeHeadPayload(payload: Uint8Array): {
  readonly chain: number;
  readonly head: SegmentHead & { readonly identity: StoredIdentity };
} {
  const view = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  const chain = view.length < CHAIN_BYTES ? 0 : view.readUInt32LE(0);
  return { chain, head: decodeSegmentHead(view.subarray(CHAIN_BYTES)) };
}

/** The segment that records are appended to. */
export interface OpenSegment {
  readonly path: string;
  readonly sequence: number;
  readonly file: StorageFile;
  /** Offset of the next record. Unit: bytes. */
  readonly position: number;
  /** Size up to which the file is on disk: records, then zeros. Unit: bytes. */
  readonly filled: number;
  /** CRC of the last record: the seed of the next record's CRC. */
  readonly chain: number;
  /** Seed of the CRC of record headers in this segment. */
  readonly salt: number;
}

/** Overwrites [from, to) with zeros, in chunks. */
export function writeZeros(file: StorageFile, from: number, to: number, done: FsDone): void {
  const length = Math.min(ZERO_CHUNK.length, to - from);
  file.write(ZERO_CHUNK.subarray(0, Math.max(0, length)), from, (error) => {
    if (error !== null || from + length >= to) done(error);
    else writeZeros(file, from + length, to, done);
  });
}

type CreateSegmentDone = (error: StorageError | null, segment: OpenSegment | null) => void;

/**
 * Creates the segment `head.sequence` in `dir`, durable when `done` is called.
 * @param chain CRC of the last record of the segment before, 0 for the first segment
 * @param fillBytes size to fill with zeros; raised to what the head and the records of `more` need
 * @param more adds records after the head
 */
export function createSegment(
  fs: StorageFs,
  dir: string,
  head: SegmentHead,
  chain: number,
  fillBytes: number,
  more: (encoder: RecordEncoder) => void,
  done: CreateSegmentDone,
): void {
  const path = joinPath(dir, segmentName(head.sequence));
  const temporary = `${path}.tmp`;
  const encoder = new RecordEncoder(4096);
  encoder.begin(0, 0, HEAD_SALT, true);
  encoder.add(RecordType.SegmentHead, encodeHeadPayload(chain, head));
  more(encoder);
  const filled = Math.max(fillBytes, encoder.sizeBytes);
  let failedAt = temporary;

  fs.open(temporary, "create", (openError, file) => {
    if (openError !== null) {
      done(classify(temporary, openError), null);
      return;
    }
    const finish = (error: FsError | null): void => {
      if (error === null) {
        const { sizeBytes: position, chain: last, headerSalt: salt } = encoder;
        done(null, { path, sequence: head.sequence, file, position, filled, chain: last, salt });
        return;
      }
      file.close(() => {
        // Best effort: opening the directory deletes temporary files.
        fs.unlink(temporary, () => {
          done(classify(failedAt, error), null);
        });
      });
    };
    series(
      [
        (next) => {
          file.write(encoder.bytes(), 0, next);
        },
        (next) => {
          writeZeros(file, encoder.sizeBytes, filled, next);
        },
        (next) => {
          file.sync(finalOnError(next));
        },
        (next) => {
          failedAt = path;
          fs.rename(temporary, path, next);
        },
        (next) => {
          fs.syncDir(dir, finalOnError(next));
        },
      ],
      finish,
    );
  });
}

/** Makes an error final. A full disk is no failure of a write, but after a failed sync what is on disk is unknown. */
function finalOnError(next: FsDone): FsDone {
  return (error) => {
    next(
      error === null
        ? null
        : Object.assign(new Error(error.message), { code: error.code ?? "EIO", final: true }),
    );
  };
}

function classify(path: string, error: FsError & { final?: boolean }): StorageError {
  return isNoSpace(error) && error.final !== true ? diskFullError(path, error) : finalIoError(path, error);
}
