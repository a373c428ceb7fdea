/**
 * Checks of messages from peers. Peers are not trusted: a message is refused here, or handled without breaking an
 * invariant; no message makes the core throw.
 *
 * These checks depend on the message and on its sender only. Checks against the log and the role are made by the
 * handlers.
 */
import { restore } from "./confchange";
import { findMalformed } from "./reconfiguration";
import { MessageType } from "./message";
import type { Message } from "./message";
import type { StepRefusal } from "./refusals";
import { MAX_WIRE_NUMBER } from "./state";
import type { RaftState } from "./state";
import { ConfChangeTransition, ConfChangeType, EntryType, isMemberId } from "./types";
import type { ConfChange, ConfChangeSingle, Entry, Snapshot } from "./types";

const U64_MAX = 0xffff_ffff_ffff_ffffn;

/** Why a message of a peer is refused, or null. */
export function checkPeerMessage(r: RaftState, m: Message): StepRefusal | null {
  const { type } = m;
  if (!isPeerType(type)) return "local-message";
  if (m.to !== r.id || typeof m.from !== "bigint" || !isMemberId(m.from)) return "misaddressed";
  if (m.from === r.id && type !== MessageType.TransferLeader) return "misaddressed";
  if (type === MessageType.Propose && r.config.disableProposalForwarding) return "proposal-from-peer";
  if (!soundNumbers(m)) return "invalid-field";
  if (needsKnownSender(type) && !r.tracker.progress.has(m.from)) {
    // The change that adds the leader may not be applied here yet.
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

/**
 * Types that only members of the active configuration may send. Leaders and candidates may be members whose addition is
 * not applied here yet.
 */
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

/** Checks at run time what the types promise: a message from outside may not comply. */
function isObject<T extends object>(value: T | null | undefined): value is T {
  return typeof value === "object" && value !== null;
}

function soundNumbers(m: Message): boolean {
  // Proposals and reads carry no term, all other types do.
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

/** The rules of each type. The handlers read no other field of the types without a case. */
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

/** Entries are consecutive, also with the entry before them; terms do not fall, nor exceed the leader's. */
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

/** Numeric enums map values to names at run time, so a value of the enum has a name. */
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

/** The snapshot is at a valid position, and its configuration is one that a group can reach. */
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
