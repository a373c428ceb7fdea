/**
 * Raft messages between the core's values and muster.raft.v1.
 *
 * Decoding takes untrusted input. Its result is a message that the core can rely on, or a sentence that says what is
 * wrong. A decoded message has a type that members may send each other, ids of members, safe integers, and a term where
 * its type has one; entries only in an Append, consecutive after `index`, with terms that never decrease and are at
 * most the sender's; and membership changes that decode. The core itself checks a message against its own log and
 * configuration.
 *
 * Raft paper, section 5 (AppendEntries, RequestVote) and section 7 (InstallSnapshot).
 */
import type {
  ConfChange as WireConfChange,
  ConfState as WireConfState,
  Entry as WireEntry,
  Message as WireMessage,
} from "../generated/muster/raft/v1/raft";
import {
  ConfChangeTransition,
  ConfChangeType,
  EntryType,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  MessageType,
  NO_NODE,
} from "../raft/index";
import type { ConfChange, ConfState, Entry, Message, NodeId, Snapshot } from "../raft/index";

export { encodeBatches, encodeMessages } from "./message_encoder";
export { messageToWire } from "./wire";
export type { EncodedBatch } from "./message_encoder";

/** A message, or what is wrong with it. */
type DecodeResult =
  { readonly ok: true; readonly message: Message } | { readonly ok: false; readonly problem: string };

/**
 * The types that may travel on an Exchange stream. Writes are forwarded as unary calls; other types stay in the core.
 */
const EXCHANGED: ReadonlySet<MessageType> = new Set([
  MessageType.Append,
  MessageType.AppendResponse,
  MessageType.Vote,
  MessageType.VoteResponse,
  MessageType.Heartbeat,
  MessageType.HeartbeatResponse,
  MessageType.TransferLeader,
  MessageType.TimeoutNow,
  MessageType.ReadIndex,
  MessageType.ReadIndexResponse,
  MessageType.PreVote,
  MessageType.PreVoteResponse,
]);

/** Most steps in one membership change. A cluster has far fewer members. */
const CONF_CHANGE_STEPS_MAX = 1024;

/** Why a decoder gave up. Never leaves this file. */
class Malformed extends Error {}

function fail(problem: string): never {
  throw new Malformed(problem);
}

/** Whether members may send messages of this type on an Exchange stream. */
export function isExchanged(type: MessageType): boolean {
  return EXCHANGED.has(type);
}

/** Whether `id` can be a member's id: not NO_NODE, and not one of the core's own threads. */
export function isMemberId(id: NodeId): boolean {
  return id > NO_NODE && id < LOCAL_APPLY_THREAD && id !== LOCAL_APPEND_THREAD;
}

/**
 * The name of `value` in a numeric enum, which maps both ways at run time. Undefined for a number that is not in it.
 */
function nameIn(values: Readonly<Record<number, string | undefined>>, value: number): string | undefined {
  return values[value];
}

/** Checks and converts a message of an Exchange stream. */
export function decodeMessage(wire: WireMessage): DecodeResult {
  return guarded(() => {
    const type: MessageType = wire.type;
    if (!EXCHANGED.has(type)) {
      const name = nameIn(MessageType, type) ?? String(wire.type);
      fail(`message type ${name} is not exchanged between members`);
    }
    if (wire.snapshot !== undefined) fail("snapshot outside InstallSnapshot");
    return decodeFields(type, wire, null);
  });
}

/** Checks and converts the message of an InstallSnapshot call, whose data came in other requests. */
export function decodeSnapshotMessage(wire: WireMessage, data: Uint8Array): DecodeResult {
  return guarded(() => {
    if ((wire.type as MessageType) !== MessageType.Snapshot) {
      fail(`message type ${String(wire.type)} in InstallSnapshot`);
    }
    return decodeFields(MessageType.Snapshot, wire, decodeSnapshot(wire, data));
  });
}

function guarded(decode: () => Message): DecodeResult {
  try {
    return { ok: true, message: decode() };
  } catch (error) {
    if (error instanceof Malformed) return { ok: false, problem: error.message };
    throw error;
  }
}

function decodeFields(type: MessageType, wire: WireMessage, snapshot: Snapshot | null): Message {
  if (!isMemberId(wire.from)) fail("no valid sender id");
  if (!isMemberId(wire.to)) fail("no valid receiver id");
  checkInteger("term", wire.term);
  checkInteger("log_term", wire.logTerm);
  checkInteger("index", wire.index);
  checkInteger("commit", wire.commit);
  checkInteger("reject_hint", wire.rejectHint);
  // The core would take a message with term 0 for one of its own. Only a read has no term.
  if (wire.term === 0 && type !== MessageType.ReadIndex) fail("no term");
  return {
    type,
    to: wire.to,
    from: wire.from,
    term: wire.term,
    logTerm: wire.logTerm,
    index: wire.index,
    entries: decodeEntries(type, wire),
    commit: wire.commit,
    vote: NO_NODE,
    snapshot,
    reject: wire.reject,
    rejectHint: wire.rejectHint,
    context: wire.context,
    forced: wire.forced,
    responses: [],
  };
}

function checkInteger(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) fail(`${name} is not a safe integer`);
}

function decodeEntries(type: MessageType, wire: WireMessage): Entry[] {
  if (type !== MessageType.Append) {
    if (wire.entries.length > 0) fail("entries outside an append message");
    return [];
  }
  if (wire.logTerm > wire.term) fail("log_term is higher than the sender's term");
  if ((wire.index === 0) !== (wire.logTerm === 0)) fail("index and log_term do not fit");
  checkInteger("last index", wire.index + wire.entries.length);
  let previous = { index: wire.index, term: wire.logTerm };
  return wire.entries.map((entry) => {
    checkInteger("entry term", entry.term);
    if (entry.index !== previous.index + 1) fail(`entry ${entry.index} after ${previous.index}`);
    if (entry.term === 0 || entry.term < previous.term) fail(`term of entry ${entry.index} is too low`);
    if (entry.term > wire.term) fail(`term of entry ${entry.index} is higher than the sender's`);
    previous = entry;
    return decodeEntry(entry);
  });
}

function decodeEntry(wire: WireEntry): Entry {
  const { term, index, type, data } = wire;
  switch (type as EntryType) {
    case EntryType.Normal:
      if (wire.confChange !== undefined) fail(`membership change in normal entry ${index}`);
      return { term, index, type: EntryType.Normal, data, confChange: null };
    case EntryType.ConfChange:
    case EntryType.ConfChangeV2: {
      if (wire.confChange === undefined) fail(`no membership change in entry ${index}`);
      if (data.length > 0) fail(`data in membership change entry ${index}`);
      const confChange = decodeConfChange(wire.confChange);
      if ((type as EntryType) === EntryType.ConfChange && confChange.changes.length !== 1) {
        fail(`entry ${index} does not change exactly one member`);
      }
      return { term, index, type: type as EntryType, data, confChange };
    }
    default:
      return fail(`entry ${index} has unknown type ${String(type)}`);
  }
}

function decodeConfChange(wire: WireConfChange): ConfChange {
  const transition = wire.transition as ConfChangeTransition;
  if (nameIn(ConfChangeTransition, transition) === undefined) {
    fail(`unknown transition ${String(wire.transition)} of a membership change`);
  }
  if (wire.changes.length > CONF_CHANGE_STEPS_MAX) fail("too many steps in a membership change");
  const changes = wire.changes.map(({ type, nodeId }) => {
    const known = type as ConfChangeType;
    if (nameIn(ConfChangeType, known) === undefined)
      fail(`unknown step ${String(type)} of a membership change`);
    if (!isMemberId(nodeId)) fail("no valid id in a membership change");
    return { type: known, nodeId };
  });
  return { transition, changes, context: wire.context };
}

function decodeSnapshot(wire: WireMessage, data: Uint8Array): Snapshot {
  const meta = wire.snapshot;
  if (meta?.confState === undefined) return fail("no snapshot metadata");
  checkInteger("snapshot index", meta.index);
  checkInteger("snapshot term", meta.term);
  if (meta.index === 0 || meta.term === 0) fail("snapshot without index or term");
  if (meta.term > wire.term) fail("snapshot term is higher than the sender's");
  return { meta: { index: meta.index, term: meta.term, confState: decodeConfState(meta.confState) }, data };
}

function decodeConfState(wire: WireConfState): ConfState {
  if (wire.voters.length === 0) fail("snapshot without voters");
  return {
    voters: ascending("voters", wire.voters),
    learners: ascending("learners", wire.learners),
    votersOutgoing: ascending("voters_outgoing", wire.votersOutgoing),
    learnersNext: ascending("learners_next", wire.learnersNext),
    autoLeave: wire.autoLeave,
  };
}

function ascending(name: string, ids: readonly NodeId[]): readonly NodeId[] {
  let previous = NO_NODE;
  for (const id of ids) {
    if (!isMemberId(id)) fail(`no valid id in ${name}`);
    if (id <= previous) fail(`${name} are not in ascending order`);
    previous = id;
  }
  return ids;
}
