/** The roster as the rules read it, and its members and events as clients see them. Pure. */
import { RosterEvent_Kind } from "../generated/muster/storage/v1/snapshot";
import type {
  ClusterSettings,
  MemberRecord,
  RosterEvent,
  Tombstone,
} from "../generated/muster/storage/v1/snapshot";
import { MemberRole, MemberTarget } from "../generated/muster/v1/member";
import type { Member } from "../generated/muster/v1/member";
import { MemberEventKind } from "../generated/muster/v1/membership_service";
import type {
  ClusterSettings as PublicSettings,
  MemberEvent,
} from "../generated/muster/v1/membership_service";
import { formatId } from "./ids";
import { toDuration, toTimestamp } from "./time";

/** Read access to the roster. Records are frozen: a change replaces the record. */
export interface RosterView {
  /** The log index at which the roster last changed. 0: never. */
  readonly revision: number;
  /** What the leader does by itself. */
  readonly settings: ClusterSettings;
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
    target: targetOfMember(record),
    replaces: record.replaces === 0n ? "" : formatId(record.replaces),
  };
}

const PUBLIC_KINDS: ReadonlyMap<RosterEvent_Kind, MemberEventKind> = new Map([
  [RosterEvent_Kind.ADDED, MemberEventKind.ADDED],
  [RosterEvent_Kind.UPDATED, MemberEventKind.UPDATED],
  [RosterEvent_Kind.PROMOTED, MemberEventKind.PROMOTED],
  [RosterEvent_Kind.DEMOTED, MemberEventKind.DEMOTED],
  [RosterEvent_Kind.REMOVED, MemberEventKind.REMOVED],
  [RosterEvent_Kind.SETTINGS, MemberEventKind.SETTINGS],
]);

/** An event in the form of the public contract. A removal there has the member as `previous`. */
export function toMemberEvent(event: RosterEvent): MemberEvent {
  const { kind, revision, member, previous, timeMs, caller, note, requestId } = event;
  const isRemoval = kind === RosterEvent_Kind.REMOVED;
  const [after, before] = isRemoval ? [undefined, member] : [member, previous];
  return {
    revision: BigInt(revision),
    // What a newer version kept is a change of the member too.
    kind: PUBLIC_KINDS.get(kind) ?? MemberEventKind.UPDATED,
    member: after === undefined ? undefined : toMember(after),
    previous: before === undefined ? undefined : toMember(before),
    time: timeMs === 0 ? undefined : toTimestamp(timeMs),
    caller,
    note,
    requestId,
    settings: settingsOf(event, event.settings),
    previousSettings: settingsOf(event, event.previousSettings),
  };
}

/** What holds as long as nobody changes it. */
export const DEFAULT_SETTINGS: ClusterSettings = Object.freeze({
  autoPromote: true,
  standbyTakeoverAfterMs: 0,
  removeUnstartedAfterMs: 0,
  updateRevision: 0,
});

export function toSettings(settings: ClusterSettings): PublicSettings {
  return {
    autoPromote: settings.autoPromote,
    standbyTakeoverAfter: toDuration(settings.standbyTakeoverAfterMs),
    removeUnstartedAfter: toDuration(settings.removeUnstartedAfterMs),
  };
}

function settingsOf(
  { kind }: RosterEvent,
  settings: ClusterSettings | undefined,
): PublicSettings | undefined {
  return kind === RosterEvent_Kind.SETTINGS ? toSettings(settings ?? DEFAULT_SETTINGS) : undefined;
}

function targetOfMember({ learner, target }: MemberRecord): MemberTarget {
  return learner && target !== MemberTarget.UNSPECIFIED ? target : MemberTarget.VOTER;
}
