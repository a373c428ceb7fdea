/** What the rules make of a command: the changes, or the refusal. Pure. */
import { RosterEvent_Kind } from "../generated/muster/storage/v1/snapshot";
import type { ClusterSettings, MemberRecord, Tombstone } from "../generated/muster/storage/v1/snapshot";
import { formatId } from "./ids";
import { refuse } from "./refusal";
import type { Refusal } from "./refusal";

/** One change that an accepted command makes. */
export type Effect =
  | {
      readonly event: RosterEvent_Kind.SETTINGS;
      /** The settings after the change. */
      readonly settings: ClusterSettings;
    }
  | {
      readonly event:
        | RosterEvent_Kind.ADDED
        | RosterEvent_Kind.UPDATED
        | RosterEvent_Kind.PROMOTED
        | RosterEvent_Kind.DEMOTED;
      /** The member after the change. */
      readonly member: MemberRecord;
    }
  | {
      /** No event and no revision: only the boot id changed, which is not public. */
      readonly event: null;
      readonly member: MemberRecord;
    }
  | {
      readonly event: RosterEvent_Kind.REMOVED;
      /** The member before its removal. */
      readonly member: MemberRecord;
      readonly tombstone: Tombstone;
    };

export interface Accepted {
  readonly ok: true;
  /** The member that the answer shows; null for a change of several, and of the settings. */
  readonly member: MemberRecord | null;
  /** The members that the command's selectors named, in their order. */
  readonly targets: readonly bigint[];
  /** Empty when the roster already is as the command asks. */
  readonly effects: readonly Effect[];
}

export type Verdict = Accepted | { readonly ok: false; readonly refusal: Refusal };

export function no(refusal: Refusal): { readonly ok: false; readonly refusal: Refusal } {
  return { ok: false, refusal };
}

export function removal(member: MemberRecord, index: number, timeMs: number): Effect {
  const tombstone = { id: member.id, name: member.name, revision: index, timeMs };
  return { event: RosterEvent_Kind.REMOVED, member, tombstone };
}

/** Freezes the record, because answers, events and remembered outcomes share it. */
export function record(member: MemberRecord): MemberRecord {
  Object.freeze(member.peerUrls);
  Object.freeze(member.adminUrls);
  return Object.freeze(member);
}

export function nameAndId(member: { readonly id: bigint; readonly name: string }): {
  id: string;
  name: string;
} {
  return { id: formatId(member.id), name: member.name };
}

export function invalid(field: string, problem: string): Refusal {
  return refuse("INVALID_REQUEST", { field, problem });
}
