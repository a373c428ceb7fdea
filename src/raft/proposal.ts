/**
 * Proposals: the leader appends them, a follower may forward them to the leader.
 *
 * The size is checked before any state changes, so that a refused proposal has no effect.
 * Raft paper, section 5.3; thesis, section 6.2. Pure.
 */
import { MessageType, newMessage } from "./message";
import type { Message } from "./message";
import { findObjection } from "./reconfiguration";
import type { ChangeObjection } from "./reconfiguration";
import type { ConfChangeRefusal, ProposalRefusal, StepRefusal } from "./refusals";
import { appendOwn, broadcastAppend } from "./replication";
import { payloadsSize } from "./size";
import type { RaftState } from "./state";
import { EMPTY_BYTES, EntryType, NO_NODE, Role } from "./types";
import type { ConfChange, Entry } from "./types";

/** Position of the proposal's first entry in this leader's log. Index 0: forwarded, the position is unknown. */
interface Proposed {
  readonly ok: true;
  readonly index: number;
  readonly term: number;
}

/** An accepted proposal may still be lost. It is committed when an entry with this `index` and `term` is applied. */
export type ProposeResult = Proposed | { readonly ok: false; readonly reason: ProposalRefusal };

export type ConfChangeResult =
  | ProposeResult
  /** The change was refused, and an empty entry appended in its place. */
  | {
      readonly ok: false;
      readonly reason: "refused";
      readonly refusal: ConfChangeRefusal;
      readonly detail: string;
    };

/** Proposes data for the state machine: one entry per element, with consecutive indexes. */
export function propose(r: RaftState, data: readonly Uint8Array[]): ProposeResult {
  return submit(
    r,
    data.map((bytes) => ({ term: 0, index: 0, type: EntryType.Normal, data: bytes, confChange: null })),
    null,
  );
}

/** Proposes a configuration change. */
export function proposeConfChange(r: RaftState, change: ConfChange, type: EntryType): ConfChangeResult {
  const objections: ChangeObjection[] = [];
  const entry: Entry = { term: 0, index: 0, type, data: EMPTY_BYTES, confChange: change };
  const result = submit(r, [entry], objections);
  const objection = objections[0];
  return objection === undefined ? result : { ok: false, reason: "refused", ...objection };
}

/**
 * A forwarded proposal. Never forwarded again: two members that disagree on the leader would pass it back and forth.
 */
export function handleForwarded(r: RaftState, m: Message): StepRefusal | null {
  if (r.role !== Role.Leader) return "not-leader";
  return submit(r, m.entries, null).ok ? null : "proposal-dropped";
}

function submit(
  r: RaftState,
  entries: readonly Entry[],
  objections: ChangeObjection[] | null,
): ProposeResult {
  if (r.role !== Role.Leader) return forward(r, entries);
  if (r.ownProgress === undefined) return { ok: false, reason: "removed" };
  if (r.leaderTransferee !== NO_NODE) return { ok: false, reason: "transferring" };
  const bytes = payloadsSize(entries);
  // While nothing is outstanding any size is accepted: a larger proposal could otherwise never be made.
  if (r.uncommittedBytes > 0 && bytes > 0 && r.uncommittedBytes + bytes > r.config.maxUncommittedSize) {
    return { ok: false, reason: "uncommitted-size" };
  }
  const first = r.log.lastIndex() + 1;
  const appended: Entry[] = [];
  for (const entry of entries) appended.push(place(r, entry, first + appended.length, objections));
  // The appended entries count, not the proposed ones: applying them subtracts the same amount.
  r.uncommittedBytes += payloadsSize(appended);
  appendOwn(r, appended);
  broadcastAppend(r);
  return { ok: true, index: first, term: r.term };
}

/** The entry as it is appended: a refused configuration change becomes an empty entry. */
function place(r: RaftState, entry: Entry, index: number, objections: ChangeObjection[] | null): Entry {
  const { term } = r;
  if (entry.confChange !== null) {
    const objection = r.config.disableConfChangeValidation
      ? null
      : findObjection(r, entry.confChange, entry.type);
    if (objection !== null) {
      r.trace?.info?.(`${r.id} ignoring conf change: ${objection.detail}`);
      objections?.push(objection);
      return { term, index, type: EntryType.Normal, data: EMPTY_BYTES, confChange: null };
    }
    r.pendingConfIndex = index;
  }
  return { term, index, type: entry.type, data: entry.data, confChange: entry.confChange };
}

function forward(r: RaftState, entries: readonly Entry[]): ProposeResult {
  if (r.role !== Role.Follower || r.leader === NO_NODE) return { ok: false, reason: "no-leader" };
  if (r.config.disableProposalForwarding) return { ok: false, reason: "not-leader" };
  // Without a term, as a leader of a later term can append it too.
  const m = newMessage(MessageType.Propose, r.leader, r.id, 0);
  m.entries = entries;
  r.send(m);
  return { ok: true, index: 0, term: 0 };
}
