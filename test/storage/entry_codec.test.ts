/** The hand-written encoder of entries gives the bytes of the generated code, and decoding gives the same entries. */
import fc from "fast-check";
import { Entry as PbEntry } from "../../src/generated/muster/raft/v1/raft";
import {
  ConfChangeTransition,
  ConfChangeType,
  EntryType,
  type ConfChange,
  type Entry,
} from "../../src/raft/index";
import {
  CodecError,
  decodeEntry,
  decodeSegmentHead,
  decodeSnapshotHead,
  encodableEntry,
  encodeSegmentHead,
  encodeSnapshotHead,
  FORMAT_VERSION,
  writeEntry,
} from "../../src/storage/entry_codec";
import { CONF, hardState, IDENTITY } from "./support/values";

function encode(entry: Entry): Buffer {
  const encodable = encodableEntry(entry);
  const buffer = Buffer.alloc(encodable.sizeBytes + 8, 0xee);
  writeEntry(buffer, 4, encodable);
  // Nothing outside the entry's range is written.
  expect(buffer.subarray(0, 4)).toEqual(Buffer.alloc(4, 0xee));
  expect(buffer.subarray(-4)).toEqual(Buffer.alloc(4, 0xee));
  return buffer.subarray(4, -4);
}

function generated(entry: Entry): Buffer {
  const change = entry.confChange;
  const confChange =
    change === null
      ? undefined
      : { ...change, changes: change.changes.map((c) => ({ ...c })), context: Buffer.from(change.context) };
  return Buffer.from(PbEntry.encode({ ...entry, data: Buffer.from(entry.data), confChange }).finish());
}

const safe = fc.oneof(
  fc.constantFrom(0, 1, 127, 128, 16383, 16384, 2 ** 31, 2 ** 32, 2 ** 35, Number.MAX_SAFE_INTEGER),
  fc.nat({ max: Number.MAX_SAFE_INTEGER }),
);
const index = safe.map((n) => Math.max(1, n));
const bytes = fc.uint8Array({ maxLength: 400 });
const normal = fc
  .record({ term: safe, index, data: bytes })
  .map((e): Entry => ({ ...e, type: EntryType.Normal, confChange: null }));
const confChange: fc.Arbitrary<ConfChange> = fc.record({
  transition: fc.constantFrom(ConfChangeTransition.Auto, ConfChangeTransition.JointExplicit),
  changes: fc.array(
    fc.record({
      type: fc.constantFrom(ConfChangeType.AddVoter, ConfChangeType.Remove, ConfChangeType.AddLearner),
      nodeId: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    }),
    { maxLength: 5 },
  ),
  context: bytes,
});
const changing = fc
  .record({ term: safe, index, confChange })
  .map((e): Entry => ({ ...e, type: EntryType.ConfChangeV2, data: new Uint8Array(0) }));

function plain(entry: Entry): unknown {
  const change = entry.confChange;
  return {
    ...entry,
    data: [...entry.data],
    confChange: change === null ? null : { ...change, context: [...change.context] },
  };
}

test("the bytes equal those of the generated code, and decode to the same entry", () => {
  fc.assert(
    fc.property(fc.oneof(normal, changing), (entry) => {
      const encoded = encode(entry);
      expect(encoded.equals(generated(entry))).toBe(true);
      expect(plain(decodeEntry(encoded))).toEqual(plain(entry));
    }),
  );
});

test("entries that no member writes are refused with a CodecError", () => {
  const pb = (parts: Partial<PbEntry>): Uint8Array =>
    PbEntry.encode({
      term: 1,
      index: 1,
      type: 0,
      data: Buffer.alloc(0),
      confChange: undefined,
      ...parts,
    }).finish();
  const bad = [
    pb({ index: 0 }),
    pb({ type: 2 }),
    pb({ type: 7 as 2 }),
    pb({ type: 2, confChange: { transition: 9 as 2, changes: [], context: Buffer.alloc(0) } }),
    pb({
      type: 2,
      confChange: { transition: 0, changes: [{ type: 4 as 3, nodeId: 1n }], context: Buffer.alloc(0) },
    }),
    pb({ confChange: { transition: 0, changes: [], context: Buffer.alloc(0) } }),
    Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
    Buffer.from([0x22, 0x7f, 1]),
  ];
  for (const payload of bad) expect(() => decodeEntry(payload)).toThrow(CodecError);
});

test("decoded heads of segments and snapshots have the same identity and format version", () => {
  const segment = { identity: IDENTITY, sequence: 7, nextIndex: 1234, hardState: hardState(3, 9n, 1200) };
  expect(decodeSegmentHead(encodeSegmentHead(segment))).toEqual({
    ...segment,
    identity: { ...IDENTITY, formatVersion: FORMAT_VERSION },
  });
  const snapshot = { identity: IDENTITY, meta: { index: 5, term: 2, confState: CONF }, sizeBytes: 77 };
  expect(decodeSnapshotHead(encodeSnapshotHead(snapshot))).toEqual({
    ...snapshot,
    identity: { ...IDENTITY, formatVersion: FORMAT_VERSION },
  });
  expect(() => decodeSegmentHead(Buffer.alloc(0))).toThrow(CodecError);
  expect(() => decodeSnapshotHead(Buffer.alloc(0))).toThrow(CodecError);
});
