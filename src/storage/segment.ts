/**
 * Segment files: names, the head record, and how a new one comes to be.
 *
 * A segment is written beside (`.tmp`), filled with zeros ahead, synced, renamed and its directory synced before the
 * first record goes into it; so a segment that is there always has a whole head. Its zeros are on disk before they
 * are overwritten, so that writing records neither needs space nor changes the file's size.
 */
import { diskFullError, finalIoError, isNoSpace } from "./errors";
import { encodeSegmentHead, decodeSegmentHead, type SegmentHead, type StoredIdentity } from "./entry_codec";
import { series, type FsDone, type FsError, type StorageFile, type StorageFs } from "./fs";
import { HEAD_SALT, RecordEncoder, RecordType } from "./record";
import type { StorageError } from "./storage";

const SEGMENT_NAME = /^(\d{16})\.wal$/;
const NAME_DIGITS = 16;
/** Zeros are written in pieces of this size. */
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

/** Joins with "/", which every platform's file system takes. */
export function joinPath(dir: string, name: string): string {
  return `${dir}/${name}`;
}

/** The payload of a head record: the CRC of the record before it in the log (0 for none), then the message. */
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

/** A segment that is being written to. */
export interface OpenSegment {
  readonly path: string;
  readonly sequence: number;
  readonly file: StorageFile;
  /** Where the next record goes. */
  readonly position: number;
  /** The file holds zeros on disk up to here. */
  readonly filled: number;
  readonly chain: number;
  readonly salt: number;
}

/** Writes zeros over [from, to), piece by piece. */
export function writeZeros(file: StorageFile, from: number, to: number, done: FsDone): void {
  const length = Math.min(ZERO_CHUNK.length, to - from);
  file.write(ZERO_CHUNK.subarray(0, Math.max(0, length)), from, (error) => {
    if (error !== null || from + length >= to) done(error);
    else writeZeros(file, from + length, to, done);
  });
}

export type CreateSegmentDone = (error: StorageError | null, segment: OpenSegment | null) => void;

/**
 * Makes the segment `head.sequence` in `dir`, durable when `done` is called.
 * @param chain CRC of the last record of the segment before it
 * @param fillBytes size to fill ahead to; at least what head and `more` need
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
        // Best effort: opening the directory removes what is left of it.
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

/** No space is forgiven in a write; after a failed sync nobody knows what is on disk. */
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
