/** The roster as the rules read it, and a member as clients see it. Types and one conversion; pure. */
import type { MemberRecord, Tombstone } from "../generated/muster/storage/v1/snapshot";
import { MemberRole } from "../generated/muster/v1/member";
import type { Member } from "../generated/muster/v1/member";
import { formatId } from "./ids";

/** Read access to the roster. Records are frozen: a change replaces the record. */
export interface RosterView {
  /** The log index at which the roster last changed. 0: never. */
  readonly revision: number;
  /** Every member, in ascending order of id. */
  members(): readonly MemberRecord[];
  member(id: bigint): MemberRecord | null;
  memberByName(name: string): MemberRecord | null;
  tombstone(id: bigint): Tombstone | null;
  /** Removed members that had this name, oldest removal first. */
  tombstonesByName(name: string): readonly Tombstone[];
}

/** A member in the form of the public contract. */
export function toMember(record: MemberRecord): Member {
  return {
    id: formatId(record.id),
    name: record.name,
    peerUrls: [...record.peerUrls],
    adminUrls: [...record.adminUrls],
    role: record.learner ? MemberRole.LEARNER : MemberRole.VOTER,
    started: record.started,
    createRevision: BigInt(record.createRevision),
    updateRevision: BigInt(record.updateRevision),
  };
}
