/**
 * Proposals: the leader appends them, a follower may pass them on.
 *
 * Size is checked before anything changes, so that a dropped proposal leaves no trace.
 * Raft paper, section 5.3; thesis, section 6.2. Pure.
 */
import { MessageType, newMessage } from "./message";
import type { Message } from "./message";
import { findObjection } from "./membership";
import type { ChangeObjection } from "./membership";
import type { ConfChangeRefusal, ProposalRefusal, StepRefusal } from "./refusals";
import { appendOwn, broadcastAppend } from "./replication";
import { payloadsSize } from "./size";
import type { RaftState } from "./state";
import { EMPTY_BYTES, EntryType, NO_NODE, Role } from "./types";
import type { ConfChange, Entry } from "./types";

/** Where the first entry of a proposal stands: in the log of this leader, or (index 0) on its way to another. */
export interface Proposed {
  readonly ok: true;
  readonly index: number;
  readonly term: number;
}

/** Proposals are committed or lost; only being applied at `index` with `term` tells. */
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

/** Proposes data of the state machine: one entry each, consecutive, one message per follower. */
export function propose(r: RaftState, data: readonly Uint8Array[]): ProposeResult {
  return submit(
    r,
    data.map((bytes) => ({ term: 0, index: 0, type: EntryType.Normal, data: bytes, confChange: null })),
    null,
  );
}

/** Proposes a membership change. */
export function proposeConfChange(r: RaftState, change: ConfChange, type: EntryType): ConfChangeResult {
  const objections: ChangeObjection[] = [];
  const entry: Entry = { term: 0, index: 0, type, data: EMPTY_BYTES, confChange: change };
  const result = submit(r, [entry], objections);
  const objection = objections[0];
  return objection === undefined ? result : { ok: false, reason: "refused", ...objection };
}

/** A proposal that a follower passed on. It is not passed on again: members that disagree on the leader would play ball. */
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
  // One proposal is always let through, however large: else it could never be.
  if (r.uncommittedBytes > 0 && bytes > 0 && r.uncommittedBytes + bytes > r.config.maxUncommittedSize) {
    return { ok: false, reason: "uncommitted-size" };
  }
  const first = r.log.lastIndex() + 1;
  const appended: Entry[] = [];
  for (const entry of entries) appended.push(place(r, entry, first + appended.length, objections));
  // What is appended counts, not what was asked for: applying it gives back exactly this much.
  r.uncommittedBytes += payloadsSize(appended);
  appendOwn(r, appended);
  broadcastAppend(r);
  return { ok: true, index: first, term: r.term };
}

/** The entry as it goes into the log: a refused membership change becomes an empty entry. */
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
  // Without a term: the proposal is no part of an election.
  const m = newMessage(MessageType.Propose, r.leader, r.id, 0);
  m.entries = entries;
  r.send(m);
  return { ok: true, index: 0, term: 0 };
}
