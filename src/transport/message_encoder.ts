/**
 * Encodes batches of Raft messages into muster.raft.v1.ExchangeRequest, straight from the core's values.
 *
 * This is the hot path of a leader: one pass measures, one allocation, one pass writes; integers stay numbers. The
 * bytes are the same that the generated encoder produces; codec.test.ts compares them. An encoded membership change is
 * kept as long as the change object lives, because the same entry goes to every follower.
 *
 * Precondition: every message is one that members may exchange, without a snapshot.
 * Format: https://protobuf.dev/programming-guides/encoding, field numbers of raft.proto.
 */
import type { ConfChange, Entry, Message } from "../raft/index";
import { ConfChange as WireConfChange } from "../generated/muster/raft/v1/raft";
import { confChangeToWire } from "./wire";

/** ExchangeRequest.messages: field 2, length-delimited. */
const TAG_BATCH_MESSAGE = 0x12;
const FIXED64_FIELD_BYTES = 9;
const BOOL_FIELD_BYTES = 2;

const enum MessageTag {
  Type = 0x08,
  To = 0x11,
  From = 0x19,
  Term = 0x20,
  LogTerm = 0x28,
  Index = 0x30,
  Entries = 0x3a,
  Commit = 0x40,
  Reject = 0x48,
  RejectHint = 0x50,
  Context = 0x59,
  Forced = 0x60,
}

const enum EntryTag {
  Term = 0x08,
  Index = 0x10,
  Type = 0x18,
  Data = 0x22,
  ConfChange = 0x2a,
}

const confChangeBytes = new WeakMap<ConfChange, Uint8Array>();

function encodedConfChange(change: ConfChange): Uint8Array {
  let bytes = confChangeBytes.get(change);
  if (bytes === undefined) {
    bytes = WireConfChange.encode(confChangeToWire(change)).finish();
    confChangeBytes.set(change, bytes);
  }
  return bytes;
}

/** Bytes of `value` as a varint. `value` is a safe integer, not negative. */
function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** Bytes of a varint field with a tag below 128. 0 for the value 0, which proto3 does not encode. */
function varintFieldBytes(value: number): number {
  return value === 0 ? 0 : 1 + varintBytes(value);
}

function lengthFieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

/** Bytes of `entry` as a muster.raft.v1.Entry, without tag and length. */
function entryBytes(entry: Entry): number {
  let bytes = varintFieldBytes(entry.term) + varintFieldBytes(entry.index) + varintFieldBytes(entry.type);
  if (entry.data.length > 0) bytes += lengthFieldBytes(entry.data.length);
  if (entry.confChange !== null) bytes += lengthFieldBytes(encodedConfChange(entry.confChange).length);
  return bytes;
}

/** Bytes of `message` as a muster.raft.v1.Message, without tag and length. */
function messageBytes(message: Message): number {
  let bytes =
    varintFieldBytes(message.type) +
    varintFieldBytes(message.term) +
    varintFieldBytes(message.logTerm) +
    varintFieldBytes(message.index) +
    varintFieldBytes(message.commit) +
    varintFieldBytes(message.rejectHint);
  if (message.to !== 0n) bytes += FIXED64_FIELD_BYTES;
  if (message.from !== 0n) bytes += FIXED64_FIELD_BYTES;
  if (message.context !== 0n) bytes += FIXED64_FIELD_BYTES;
  if (message.reject) bytes += BOOL_FIELD_BYTES;
  if (message.forced) bytes += BOOL_FIELD_BYTES;
  for (const entry of message.entries) bytes += lengthFieldBytes(entryBytes(entry));
  return bytes;
}

/** Writes fields one after another into one buffer. */
class Cursor {
  position = 0;

  constructor(readonly buffer: Buffer) {}

  varint(value: number): void {
    let rest = value;
    // Bit operators cut numbers to 32 bits; division does not.
    while (rest > 0x7fff_ffff) {
      this.buffer[this.position++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    while (rest >= 0x80) {
      this.buffer[this.position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.buffer[this.position++] = rest;
  }

  varintField(tag: number, value: number): void {
    if (value === 0) return;
    this.buffer[this.position++] = tag;
    this.varint(value);
  }

  fixed64Field(tag: number, value: bigint): void {
    if (value === 0n) return;
    this.buffer[this.position++] = tag;
    this.position = this.buffer.writeBigUInt64LE(value, this.position);
  }

  bytesField(tag: number, bytes: Uint8Array): void {
    this.buffer[this.position++] = tag;
    this.varint(bytes.length);
    this.buffer.set(bytes, this.position);
    this.position += bytes.length;
  }
}

function writeEntry(cursor: Cursor, entry: Entry): void {
  cursor.varintField(EntryTag.Term, entry.term);
  cursor.varintField(EntryTag.Index, entry.index);
  cursor.varintField(EntryTag.Type, entry.type);
  if (entry.data.length > 0) cursor.bytesField(EntryTag.Data, entry.data);
  if (entry.confChange !== null) cursor.bytesField(EntryTag.ConfChange, encodedConfChange(entry.confChange));
}

function writeMessage(cursor: Cursor, message: Message): void {
  cursor.varintField(MessageTag.Type, message.type);
  cursor.fixed64Field(MessageTag.To, message.to);
  cursor.fixed64Field(MessageTag.From, message.from);
  cursor.varintField(MessageTag.Term, message.term);
  cursor.varintField(MessageTag.LogTerm, message.logTerm);
  cursor.varintField(MessageTag.Index, message.index);
  for (const entry of message.entries) {
    cursor.buffer[cursor.position++] = MessageTag.Entries;
    cursor.varint(entryBytes(entry));
    writeEntry(cursor, entry);
  }
  cursor.varintField(MessageTag.Commit, message.commit);
  cursor.varintField(MessageTag.Reject, message.reject ? 1 : 0);
  cursor.varintField(MessageTag.RejectHint, message.rejectHint);
  cursor.fixed64Field(MessageTag.Context, message.context);
  cursor.varintField(MessageTag.Forced, message.forced ? 1 : 0);
}

function writeBatch(messages: readonly Message[], lengths: readonly number[], totalBytes: number): Buffer {
  const cursor = new Cursor(Buffer.allocUnsafe(totalBytes));
  messages.forEach((message, i) => {
    cursor.buffer[cursor.position++] = TAG_BATCH_MESSAGE;
    cursor.varint(lengths[i] ?? 0);
    writeMessage(cursor, message);
  });
  return cursor.buffer;
}

/** One encoded ExchangeRequest, with the number of its messages. */
export interface EncodedBatch {
  readonly bytes: Buffer;
  readonly messageCount: number;
}

/** `messages` as one encoded ExchangeRequest, however large. */
export function encodeMessages(messages: readonly Message[]): Buffer {
  const lengths = messages.map(messageBytes);
  const total = lengths.reduce((sum, length) => sum + lengthFieldBytes(length), 0);
  return writeBatch(messages, lengths, total);
}

/**
 * `messages`, in order, as encoded ExchangeRequests of at most `bytesMax` bytes each, as few as possible. A single
 * message that is larger is left out, because no peer would receive it; `oversized` counts such messages.
 */
export function encodeBatches(
  messages: readonly Message[],
  bytesMax: number,
): { readonly batches: readonly EncodedBatch[]; readonly oversized: number } {
  const batches: EncodedBatch[] = [];
  let oversized = 0;
  let open: Message[] = [];
  let lengths: number[] = [];
  let total = 0;
  const flush = (): void => {
    if (open.length === 0) return;
    batches.push({ bytes: writeBatch(open, lengths, total), messageCount: open.length });
    [open, lengths, total] = [[], [], 0];
  };
  for (const message of messages) {
    const length = messageBytes(message);
    const field = lengthFieldBytes(length);
    if (field > bytesMax) {
      oversized++;
      continue;
    }
    if (total + field > bytesMax) flush();
    open.push(message);
    lengths.push(length);
    total += field;
  }
  flush();
  return { batches, oversized };
}
