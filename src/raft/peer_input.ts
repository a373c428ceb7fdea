/**
 * What a message of a peer must look like before the core takes it. Peers are not trusted: whatever they send, it is
 * refused here or handled without breaking an invariant; nothing throws.
 *
 * Here is what can be told from the message and the identity of its sender; what depends on the log and the role is
 * checked where it is handled.
 */
import { restore } from "./confchange";
import { findMalformed } from "./membership";
import { MessageType } from "./message";
import type { Message } from "./message";
import type { StepRefusal } from "./refusals";
import { MAX_WIRE_NUMBER } from "./state";
import type { RaftState } from "./state";
import { ConfChangeTransition, ConfChangeType, EntryType, isMemberId } from "./types";
import type { ConfChange, ConfChangeSingle, Entry, Snapshot } from "./types";

const U64_MAX = 0xffff_ffff_ffff_ffffn;

/** Why `m`, said to come from a peer, is refused; or null. */
export function checkPeerMessage(r: RaftState, m: Message): StepRefusal | null {
  const { type } = m;
  if (!isPeerType(type)) return "local-message";
  if (m.to !== r.id || typeof m.from !== "bigint" || !isMemberId(m.from)) return "misaddressed";
  if (m.from === r.id && type !== MessageType.TransferLeader) return "misaddressed";
  if (type === MessageType.Propose && r.config.disableProposalForwarding) return "proposal-from-peer";
  if (!soundNumbers(m)) return "invalid-field";
  if (needsKnownSender(type) && !r.tracker.progress.has(m.from)) {
    // The leader may be so new that the change that adds it is not applied here yet.
    if (type !== MessageType.TimeoutNow || m.from !== r.leader) return "unknown-sender";
  }
  return soundContent(r, m) ? null : "invalid-field";
}

/** Types that travel between members. */
function isPeerType(type: MessageType): boolean {
  return (
    (type >= MessageType.Propose && type <= MessageType.HeartbeatResponse) ||
    (type >= MessageType.TransferLeader && type <= MessageType.PreVoteResponse)
  );
}

/** Types that only a member of the configuration may send; a leader or candidate may be one that is not known yet. */
function needsKnownSender(type: MessageType): boolean {
  switch (type) {
    case MessageType.AppendResponse:
    case MessageType.VoteResponse:
    case MessageType.PreVoteResponse:
    case MessageType.HeartbeatResponse:
    case MessageType.TransferLeader:
    case MessageType.TimeoutNow:
    case MessageType.ReadIndex:
    case MessageType.Propose:
      return true;
    default:
      return false;
  }
}

function isCount(n: number): boolean {
  return Number.isSafeInteger(n) && n >= 0 && n <= MAX_WIRE_NUMBER;
}

/** The types say so already; a message that was put together wrongly need not keep to them. */
function isObject<T extends object>(value: T | null | undefined): value is T {
  return typeof value === "object" && value !== null;
}

function soundNumbers(m: Message): boolean {
  // Proposals and reads belong to no term; everything else does.
  const termless = m.type === MessageType.Propose || m.type === MessageType.ReadIndex;
  return (
    isCount(m.term) &&
    (m.term === 0) === termless &&
    isCount(m.logTerm) &&
    isCount(m.index) &&
    isCount(m.commit) &&
    isCount(m.rejectHint) &&
    typeof m.reject === "boolean" &&
    typeof m.context === "bigint" &&
    m.context >= 0n &&
    m.context <= U64_MAX &&
    Array.isArray(m.entries)
  );
}

/** What each type must hold. Types without a row hold nothing else that is read. */
function soundContent(r: RaftState, m: Message): boolean {
  switch (m.type) {
    case MessageType.Append:
      return m.logTerm <= m.term && (m.index === 0) === (m.logTerm === 0) && soundAppend(m);
    case MessageType.AppendResponse:
      return m.logTerm <= m.term && (!m.reject || m.rejectHint <= m.index);
    case MessageType.Vote:
    case MessageType.PreVote:
      return m.logTerm <= m.term && (m.index === 0) === (m.logTerm === 0) && typeof m.forced === "boolean";
    case MessageType.Snapshot:
      return isObject(m.snapshot) && soundSnapshot(r, m.snapshot, m.term);
    case MessageType.Propose:
      return m.entries.length > 0 && m.entries.every((entry) => soundPayload(entry));
    case MessageType.ReadIndex:
    case MessageType.ReadIndexResponse:
      return m.context > 0n;
    default:
      return true;
  }
}

/** Entries follow each other and the entry before them; terms never fall, nor exceed the leader's. */
function soundAppend(m: Message): boolean {
  let { index, logTerm: term } = m;
  for (const entry of m.entries) {
    if (!soundPayload(entry) || entry.index !== index + 1) return false;
    if (!Number.isSafeInteger(entry.term) || entry.term < term || entry.term < 1) return false;
    index = entry.index;
    term = entry.term;
  }
  return term <= m.term && index <= MAX_WIRE_NUMBER;
}

function soundPayload(entry: Entry | null | undefined): boolean {
  if (!isObject(entry) || !(entry.data instanceof Uint8Array)) return false;
  if (entry.type === EntryType.Normal) return entry.confChange === null;
  return inEnum(EntryType, entry.type) && soundConfChange(entry.confChange, entry.type);
}

/** Numeric enums map both ways at run time, so a value that is one of theirs names its key. */
function inEnum(values: Readonly<Record<number, string | undefined>>, value: number): boolean {
  return values[value] !== undefined;
}

function soundConfChange(change: ConfChange | null | undefined, type: EntryType): boolean {
  if (!isObject(change) || !(change.context instanceof Uint8Array)) return false;
  const steps: readonly ConfChangeSingle[] = change.changes;
  if (!Array.isArray(steps) || !inEnum(ConfChangeTransition, change.transition)) return false;
  if (!steps.every(soundStep)) return false;
  return findMalformed(change, type) === null;
}

function soundStep(step: ConfChangeSingle): boolean {
  return isObject(step) && inEnum(ConfChangeType, step.type) && typeof step.nodeId === "bigint";
}

/** A snapshot stands at a committed entry, and its configuration is one that a group can have. */
function soundSnapshot(r: RaftState, snapshot: Snapshot, term: number): boolean {
  const { meta, data } = snapshot;
  if (!(data instanceof Uint8Array) || !isObject(meta) || !isObject(meta.confState)) return false;
  if (!isCount(meta.index) || meta.index === 0) return false;
  if (!isCount(meta.term) || meta.term === 0 || meta.term > term) return false;
  const { voters, learners, votersOutgoing, learnersNext, autoLeave } = meta.confState;
  for (const ids of [voters, learners, votersOutgoing, learnersNext]) {
    if (!Array.isArray(ids) || !ids.every((id) => typeof id === "bigint")) return false;
  }
  if (voters.length === 0 || typeof autoLeave !== "boolean") return false;
  return restore(r.tracker, meta.index, meta.confState).ok;
}
