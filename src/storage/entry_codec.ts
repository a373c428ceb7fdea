/**
 * The encoding of the core's values in log records and snapshot heads: protobuf messages of muster.raft.v1 and
 * muster.storage.v1. Entries are encoded by hand, directly into the record buffer, because every write encodes them.
 * Other values use the generated code. A test checks that both give the same bytes.
 *
 * Decoding throws CodecError for content that no member writes. Callers report it as damage of the file.
 */
import {
  ConfChangeTransition,
  ConfChangeType,
  EMPTY_BYTES,
  EntryType,
  type ConfChange,
  type ConfState,
  type Entry,
  type HardState,
  type SnapshotMeta,
} from "../raft/index";
import * as pb from "../generated/muster/raft/v1/raft";
import * as wal from "../generated/muster/storage/v1/wal";
import type { Identity } from "./storage";

/** The format of log and snapshots that this version writes. */
export const FORMAT_VERSION = 1;

/** The bytes are no valid protobuf message, or the message has values that no member writes. */
export class CodecError extends Error {
  override readonly name = "CodecError";
}

function decoding<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw new CodecError(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function varintSize(value: number): number {
  let size = 1;
  let rest = value;
  while (rest >= 128) {
    rest = Math.floor(rest / 128);
    size++;
  }
  return size;
}

/** @returns the offset after the varint */
function writeVarint(buffer: Buffer, offset: number, value: number): number {
  let at = offset;
  let rest = value;
  while (rest >= 128) {
    // No bitwise operators: they cut off everything above 32 bits.
    buffer[at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  buffer[at++] = rest;
  return at;
}

function toPbConfChange(change: ConfChange): pb.ConfChange {
  return {
    transition: change.transition,
    changes: change.changes.map((c) => ({ type: c.type, nodeId: c.nodeId })),
    context: Buffer.from(change.context.buffer, change.context.byteOffset, change.context.length),
  };
}

/** An entry whose encoded size is known and whose configuration change, if any, is encoded. */
export interface EncodableEntry {
  readonly entry: Entry;
  readonly sizeBytes: number;
  readonly confChange: Uint8Array | null;
}

export function encodableEntry(entry: Entry): EncodableEntry {
  const confChange =
    entry.confChange === null ? null : pb.ConfChange.encode(toPbConfChange(entry.confChange)).finish();
  let size = 0;
  if (entry.term !== 0) size += 1 + varintSize(entry.term);
  if (entry.index !== 0) size += 1 + varintSize(entry.index);
  if (entry.type !== EntryType.Normal) size += 1 + varintSize(entry.type);
  const data = entry.data.length;
  if (data !== 0) size += 1 + varintSize(data) + data;
  if (confChange !== null) size += 1 + varintSize(confChange.length) + confChange.length;
  return { entry, sizeBytes: size, confChange };
}

/** Writes exactly `sizeBytes` bytes at `offset`. The tags are the fields of muster.raft.v1.Entry. */
export function writeEntry(buffer: Buffer, offset: number, encodable: EncodableEntry): void {
  const { entry, confChange } = encodable;
  let at = offset;
  if (entry.term !== 0) {
    buffer[at++] = 0x08;
    at = writeVarint(buffer, at, entry.term);
  }
  if (entry.index !== 0) {
    buffer[at++] = 0x10;
    at = writeVarint(buffer, at, entry.index);
  }
  if (entry.type !== EntryType.Normal) {
    buffer[at++] = 0x18;
    at = writeVarint(buffer, at, entry.type);
  }
  if (entry.data.length !== 0) {
    buffer[at++] = 0x22;
    at = writeVarint(buffer, at, entry.data.length);
    buffer.set(entry.data, at);
    at += entry.data.length;
  }
  if (confChange !== null) {
    buffer[at++] = 0x2a;
    at = writeVarint(buffer, at, confChange.length);
    buffer.set(confChange, at);
  }
}

/** The result shares no memory with `bytes`. @throws CodecError */
export function decodeEntry(bytes: Uint8Array): Entry {
  const message = decoding("entry", () => pb.Entry.decode(bytes));
  const type = message.type as number;
  if (!Number.isInteger(type) || type < EntryType.Normal || type > EntryType.ConfChangeV2) {
    throw new CodecError(`entry ${message.index} has unknown type ${type}`);
  }
  if (message.index < 1) throw new CodecError("entry without an index");
  const change = message.confChange;
  if ((type !== EntryType.Normal) !== (change !== undefined)) {
    throw new CodecError(`entry ${message.index} of type ${type} and its content do not fit`);
  }
  return {
    term: message.term,
    index: message.index,
    type,
    data: message.data.length === 0 ? EMPTY_BYTES : message.data,
    confChange: change === undefined ? null : fromPbConfChange(change),
  };
}

function fromPbConfChange(change: pb.ConfChange): ConfChange {
  return {
    transition: checked<ConfChangeTransition>(
      change.transition,
      ConfChangeTransition.JointExplicit,
      "transition",
    ),
    changes: change.changes.map((c) => ({
      type: checked<ConfChangeType>(c.type, ConfChangeType.AddLearner, "type of a membership change"),
      nodeId: c.nodeId,
    })),
    context: change.context,
  };
}

/** Checks a value of an enumeration from 0 to `largest`. The bytes may hold numbers that the generated type excludes. */
function checked<T extends number>(value: number, largest: T, what: string): T {
  if (!Number.isInteger(value) || value < 0 || value > largest)
    throw new CodecError(`unknown ${what}: ${value}`);
  return value as T;
}

export function encodeHardState(state: HardState): Uint8Array {
  return pb.HardState.encode({ term: state.term, vote: state.vote, commit: state.commit }).finish();
}

/** @throws CodecError */
export function decodeHardState(bytes: Uint8Array): HardState {
  const { term, vote, commit } = decoding("hard state", () => pb.HardState.decode(bytes));
  return { term, vote, commit };
}

export interface SnapshotMark {
  readonly index: number;
  readonly term: number;
  /** True: received from the leader, and the log before it was dropped. False: taken by this member. */
  readonly installed: boolean;
}

export function encodeSnapshotMark(mark: SnapshotMark): Uint8Array {
  return wal.SnapshotMark.encode({ index: mark.index, term: mark.term, installed: mark.installed }).finish();
}

/** @throws CodecError */
export function decodeSnapshotMark(bytes: Uint8Array): SnapshotMark {
  const { index, term, installed } = decoding("snapshot mark", () => wal.SnapshotMark.decode(bytes));
  return { index, term, installed };
}

function toPbIdentity(identity: Identity): wal.Identity {
  return {
    formatVersion: FORMAT_VERSION,
    clusterId: identity.clusterId,
    memberId: identity.memberId,
    instanceId: Buffer.from(identity.instanceId),
  };
}

/** An identity as stored, with the version of its format. */
export interface StoredIdentity extends Identity {
  readonly formatVersion: number;
}

function fromPbIdentity(identity: wal.Identity | undefined): StoredIdentity {
  if (identity === undefined) throw new CodecError("the identity is missing");
  const { formatVersion, clusterId, memberId, instanceId } = identity;
  if (formatVersion < 1) throw new CodecError("the format version is missing");
  return { formatVersion, clusterId, memberId, instanceId: new Uint8Array(instanceId) };
}

export interface SegmentHead {
  readonly identity: Identity;
  readonly sequence: number;
  readonly nextIndex: number;
  readonly hardState: HardState;
}

export function encodeSegmentHead(head: SegmentHead): Uint8Array {
  return wal.SegmentHead.encode({
    identity: toPbIdentity(head.identity),
    sequence: head.sequence,
    nextIndex: head.nextIndex,
    hardState: head.hardState,
  }).finish();
}

/** @throws CodecError */
export function decodeSegmentHead(bytes: Uint8Array): SegmentHead & { readonly identity: StoredIdentity } {
  const head = decoding("segment head", () => wal.SegmentHead.decode(bytes));
  const identity = fromPbIdentity(head.identity);
  const { term, vote, commit } = head.hardState ?? { term: 0, vote: 0n, commit: 0 };
  return { identity, sequence: head.sequence, nextIndex: head.nextIndex, hardState: { term, vote, commit } };
}

interface SnapshotHead {
  readonly identity: Identity;
  readonly meta: SnapshotMeta;
  readonly sizeBytes: number;
}

export function encodeSnapshotHead(head: SnapshotHead): Uint8Array {
  const conf = head.meta.confState;
  return wal.SnapshotHead.encode({
    identity: toPbIdentity(head.identity),
    meta: {
      index: head.meta.index,
      term: head.meta.term,
      confState: {
        voters: [...conf.voters],
        learners: [...conf.learners],
        votersOutgoing: [...conf.votersOutgoing],
        learnersNext: [...conf.learnersNext],
        autoLeave: conf.autoLeave,
      },
    },
    sizeBytes: head.sizeBytes,
  }).finish();
}

/** @throws CodecError */
export function decodeSnapshotHead(bytes: Uint8Array): SnapshotHead & { readonly identity: StoredIdentity } {
  const head = decoding("snapshot head", () => wal.SnapshotHead.decode(bytes));
  const identity = fromPbIdentity(head.identity);
  if (head.meta === undefined) throw new CodecError("a snapshot without its index");
  const { index, term } = head.meta;
  return {
    identity,
    meta: { index, term, confState: fromPbConf(head.meta.confState) },
    sizeBytes: head.sizeBytes,
  };
}

function fromPbConf(conf: pb.ConfState | undefined): ConfState {
  return {
    voters: conf?.voters ?? [],
    learners: conf?.learners ?? [],
    votersOutgoing: conf?.votersOutgoing ?? [],
    learnersNext: conf?.learnersNext ?? [],
    autoLeave: conf?.autoLeave ?? false,
  };
}
