/** Framing of records: written records are read back, and torn writes are distinguished from damage. */
import { crc32 } from "node:zlib";
import {
  ALIGN_BYTES,
  framedSize,
  HEADER_BYTES,
  HEAD_SALT,
  RecordEncoder,
  RecordReader,
  RecordType,
  SECTOR_BYTES,
  type RecordRead,
} from "../../src/storage/record";
import { seeded } from "./support/crash_fs";

interface Segment {
  readonly bytes: Buffer;
  /** The offset of each record, and the end of the last one. */
  readonly starts: readonly number[];
}

/** Each inner list is one write; everything before a write was synced. */
function segment(writes: readonly (readonly Uint8Array[])[], fileBytes = 64 * 1024): Segment {
  const bytes = Buffer.alloc(fileBytes);
  const encoder = new RecordEncoder(16);
  const starts: number[] = [];
  let position = 0;
  let chain = 0;
  let salt = HEAD_SALT;
  for (const write of [[Buffer.from("head")], ...writes]) {
    encoder.begin(position, chain, salt, true);
    for (const payload of write) {
      starts.push(position + encoder.sizeBytes);
      encoder.add(position === 0 ? RecordType.SegmentHead : RecordType.Entry, payload);
    }
    bytes.set(encoder.bytes(), position);
    position += encoder.sizeBytes;
    chain = encoder.chain;
    salt = encoder.headerSalt;
  }
  return { bytes, starts: [...starts, position] };
}

function readAll(bytes: Buffer): { payloads: Buffer[]; end: RecordRead } {
  const reader = new RecordReader(bytes);
  const payloads: Buffer[] = [];
  for (;;) {
    const read = reader.next();
    if (read.kind !== "record") return { payloads, end: read };
    payloads.push(Buffer.from(read.payload));
  }
}

const SIZES = [1, 15, 16, 100, 495, 496, 511, 512, 513, 3000, 40_000];

test("payloads of all sizes and contents are read back", () => {
  const below = seeded(1);
  const fillings = [0, 1, 0xff, 0x80];
  const payloads = SIZES.flatMap((size) => [
    ...fillings.map((fill) => Buffer.alloc(size, fill)),
    Buffer.from(Array.from({ length: size }, () => below(256))),
  ]);
  const { bytes } = segment([payloads], 1024 * 1024);
  const read = readAll(bytes);
  expect(read.end.kind).toBe("end");
  expect(read.payloads.slice(1)).toEqual(payloads);
});

test("records begin at multiples of 16 and their headers lie in one sector", () => {
  const { starts } = segment([SIZES.map((size) => Buffer.alloc(size, 7))], 128 * 1024);
  for (const start of starts) {
    expect(start % ALIGN_BYTES).toBe(0);
    expect(Math.floor(start / SECTOR_BYTES)).toBe(Math.floor((start + HEADER_BYTES - 1) / SECTOR_BYTES));
  }
});

test("no sector of a record is nearly empty, whatever its payload", () => {
  const payloads = [0, 1, 700, 5000].flatMap((at) => {
    const one = Buffer.alloc(6000);
    one[at] = 1;
    return [Buffer.alloc(6000), one];
  });
  const { bytes, starts } = segment([payloads]);
  const end = starts.at(-1) ?? 0;
  for (let at = 0; at < end; at += SECTOR_BYTES) {
    const bits = [...bytes.subarray(at, Math.min(end, at + SECTOR_BYTES))].filter((b) => b !== 0);
    expect(bits.length).toBeGreaterThan(1);
  }
});

test("the checksum of a payload is chained to the records before it", () => {
  const { bytes, starts } = segment([[Buffer.from("one"), Buffer.from("two")]]);
  const stored = (i: number): number => bytes.readUInt32LE((starts[i] ?? 0) + 8);
  expect(stored(0)).toBe(crc32("head"));
  expect(stored(1)).toBe(crc32("one", stored(0)));
  expect(stored(2)).toBe(crc32("two", stored(1)));
});

test("a last write that lost a sector is torn; the records before it stay", () => {
  const { bytes, starts } = segment([[Buffer.from("kept")], [Buffer.alloc(3000, 9), Buffer.from("whole")]]);
  const torn = starts[2] ?? 0;
  for (const lost of [0, 1, 3]) {
    const copy = Buffer.from(bytes);
    const sector = (Math.floor(torn / SECTOR_BYTES) + lost) * SECTOR_BYTES;
    copy.fill(0, Math.max(sector, torn), sector + SECTOR_BYTES);
    const read = readAll(copy);
    expect(read.payloads.length).toBe(2);
    expect(read.end).toMatchObject({ kind: "torn", at: torn, end: starts.at(-1) });
  }
});

test("the same hole is damage when a later write shows that it had been synced", () => {
  const { bytes, starts } = segment([[Buffer.alloc(3000, 9)], [Buffer.from("later")]]);
  const hole = starts[1] ?? 0;
  const inside = (Math.floor(hole / SECTOR_BYTES) + 2) * SECTOR_BYTES;
  for (const from of [hole, inside]) {
    const copy = Buffer.from(bytes);
    copy.fill(0, from, (Math.floor(from / SECTOR_BYTES) + 1) * SECTOR_BYTES);
    expect(readAll(copy).end).toMatchObject({ kind: "damage", at: hole });
  }
});

test("a file that ends inside a record is torn, in its header too", () => {
  const { bytes, starts } = segment([[Buffer.from("kept")], [Buffer.alloc(600, 9)]]);
  const at = starts[2] ?? 0;
  for (const length of [at + 5, at + HEADER_BYTES, at + 300]) {
    expect(readAll(bytes.subarray(0, length)).end).toMatchObject({ kind: "torn", at });
  }
  expect(readAll(bytes.subarray(0, at)).end).toEqual({ kind: "end", at });
});

test("a whole record with wrong bytes is damage, in header, payload and padding", () => {
  const { bytes, starts } = segment([[Buffer.alloc(100, 9)]]);
  const [, at = 0, end = 0] = starts;
  for (const offset of [at, at + 5, at + 12, at + HEADER_BYTES, at + HEADER_BYTES + 99, end - 1]) {
    const copy = Buffer.from(bytes);
    copy[offset] = (copy[offset] ?? 0) ^ 4;
    expect(readAll(copy).end).toMatchObject({ kind: "damage", at });
  }
});

test("a record that was copied to another offset is not accepted", () => {
  const { bytes, starts } = segment([[Buffer.from("first"), Buffer.from("second")]]);
  const [, first = 0, second = 0, end = 0] = starts;
  const copy = Buffer.from(bytes);
  bytes.copy(copy, end, first, second);
  expect(readAll(copy).end).toMatchObject({ kind: "damage", at: end });
});

test("framedSize equals the size on disk", () => {
  const { starts } = segment([SIZES.map((size) => Buffer.alloc(size, 1))], 128 * 1024);
  const sizes = starts.slice(1).map((end, i) => end - (starts[i] ?? 0));
  expect(sizes.slice(1)).toEqual(SIZES.map(framedSize));
});
