/** What WatchMembers sends, in short. */
import { Member } from "../../../src/generated/muster/v1/member";
import {
  MemberEvent,
  MemberEventKind,
  WatchMembersResponse,
} from "../../../src/generated/muster/v1/membership_service";
import type { ClusterSettings } from "../../../src/generated/muster/v1/membership_service";

export const CLUSTER = "c1";

export function member(id: string, fields: Partial<Member> = {}): Member {
  return Member.fromPartial({ id, name: `n${id}`, ...fields });
}

function message(
  revision: number,
  part: WatchMembersResponse["part"],
  header: { clusterId?: string; leaderId?: string; raftTerm?: bigint } = {},
): WatchMembersResponse {
  return WatchMembersResponse.fromPartial({
    header: { clusterId: CLUSTER, memberId: "1", revision: BigInt(revision), leaderId: "1", ...header },
    part,
  });
}

export function roster(revision: number, members: Member[], clusterId = CLUSTER): WatchMembersResponse {
  return message(revision, { $case: "roster", value: { members } }, { clusterId });
}

export function added(revision: number, id: string, fields: Partial<Member> = {}): MemberEvent {
  return MemberEvent.fromPartial({
    revision: BigInt(revision),
    kind: MemberEventKind.ADDED,
    member: member(id, fields),
  });
}

export function removed(revision: number, id: string): MemberEvent {
  return MemberEvent.fromPartial({
    revision: BigInt(revision),
    kind: MemberEventKind.REMOVED,
    previous: member(id),
  });
}

export function settings(revision: number, after: Partial<ClusterSettings>): MemberEvent {
  return MemberEvent.fromPartial({
    revision: BigInt(revision),
    kind: MemberEventKind.SETTINGS,
    settings: after,
    previousSettings: { autoPromote: true },
  });
}

export function events(...all: MemberEvent[]): WatchMembersResponse {
  return message(Number(all.at(-1)?.revision ?? 0n), { $case: "events", value: { events: all } });
}

export function leader(leaderId: string, raftTerm: number): WatchMembersResponse {
  return message(0, { $case: "leader", value: { leaderId } }, { raftTerm: BigInt(raftTerm), leaderId });
}

export function progress(revision: number, hasLeader = true): WatchMembersResponse {
  return message(revision, { $case: "progress", value: { hasLeader } });
}
