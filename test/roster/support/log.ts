/** Short forms for commands and entries in tests, which are applied to a roster as a replica would do it. */
import { createHash } from "node:crypto";
import {
  addMemberCommand,
  confChange,
  encodeCommand,
  fingerprint,
  publishCommand,
  removeMemberCommand,
  Roster,
  updateAdminUrlsCommand,
  updateMemberCommand,
} from "../../../src/roster/index";
import type {
  ApplyResult,
  CommandEnvelope,
  Decision,
  HistoryOptions,
  MemberRecord,
  NewMember,
  Reason,
  Refusal,
  RosterCommand,
} from "../../../src/roster/index";
import { EntryType } from "../../../src/raft/index";
import type { Entry } from "../../../src/raft/index";

export const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

export const CLUSTER_ID = 0xc1n;
export const TIME_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

/** Selects a member by id, by name, or both. */
export function by(member: { id?: bigint; name?: string }): { id: bigint; name: string } {
  return { id: member.id ?? 0n, name: member.name ?? "" };
}

export function envelope(extra: Partial<CommandEnvelope> = {}): CommandEnvelope {
  return { proposalId: 7n, timeMs: TIME_MS, ...extra };
}

/** An envelope whose fingerprint is a hash of `content`. */
export function request(
  requestId: string,
  content = "content",
  extra: Partial<CommandEnvelope> = {},
): CommandEnvelope {
  const fields = { requestId, expectedRevision: 0, validateOnly: false, note: "", content };
  return envelope({ requestId, fingerprint: fingerprint(sha256, "Test", fields), ...extra });
}

export function newMember(n: number, extra: Partial<NewMember> = {}): NewMember {
  return { id: BigInt(n), name: `n${n}`, peerUrl: `http://10.0.0.${n}:7461`, adminUrls: [], ...extra };
}

export const add = (n: number, extra: Partial<NewMember> = {}, head = envelope()): RosterCommand =>
  addMemberCommand(head, newMember(n, extra));
export const remove = (
  member: { id?: bigint; name?: string },
  peerUrl = "",
  head = envelope(),
): RosterCommand => removeMemberCommand(head, { member: by(member), peerUrl });
export const move = (
  member: { id?: bigint; name?: string },
  newPeerUrl: string,
  head = envelope(),
): RosterCommand => updateMemberCommand(head, { member: by(member), newPeerUrl });
export const adminUrls = (
  member: { id?: bigint; name?: string },
  urls: readonly string[],
  head = envelope(),
): RosterCommand => updateAdminUrlsCommand(head, { member: by(member), adminUrls: urls });
export const publish = (
  n: number,
  instance = n,
  urls = [`http://10.0.0.${n}:7460`],
  version = "1.0.0",
): RosterCommand =>
  publishCommand(envelope(), {
    id: BigInt(n),
    instanceId: new Uint8Array(16).fill(instance),
    adminUrls: urls,
    version,
  });

/** The entry that the leader with this roster would propose for the command. */
export function entryFor(roster: Roster, command: RosterCommand): Entry {
  const index = roster.appliedIndex + 1;
  const change = confChange(roster, command);
  return change === null
    ? { term: 1, index, type: EntryType.Normal, data: encodeCommand(command), confChange: null }
    : { term: 1, index, type: EntryType.ConfChangeV2, data: new Uint8Array(), confChange: change };
}

export function emptyEntry(index: number): Entry {
  return { term: 1, index, type: EntryType.Normal, data: new Uint8Array(), confChange: null };
}

/** Applies the command in the next entry and returns the whole result. */
export function apply(roster: Roster, command: RosterCommand): Extract<ApplyResult, { kind: "command" }> {
  const result = roster.apply(entryFor(roster, command));
  if (result.kind !== "command") throw new Error("the entry was taken for an empty one");
  return result;
}

export function accepted(decision: Decision): Extract<Decision, { accepted: true }> {
  if (!decision.accepted) throw new Error(`refused: ${decision.refusal.message}`);
  return decision;
}

export function refused(decision: Decision, reason: Reason): Refusal {
  if (decision.accepted) throw new Error(`accepted, not refused with ${reason}`);
  expect(decision.refusal.reason).toBe(reason);
  return decision.refusal;
}

/** A roster of voters n1..nN with ids 1..N, added at indexes 1..N. */
export function rosterOf(size: number, options: HistoryOptions = {}): Roster {
  const roster = new Roster({ clusterId: CLUSTER_ID, ...options });
  for (let n = 1; n <= size; n++) accepted(apply(roster, add(n)).decision);
  return roster;
}

/** The member with this id, which must be there. */
export function memberOf(roster: Roster, id: number): MemberRecord {
  const member = roster.member(BigInt(id));
  if (member === null) throw new Error(`no member ${id}`);
  return member;
}

/** An equal roster, restored from the roster's snapshot. */
export function restored(roster: Roster, options: HistoryOptions = {}): Roster {
  return Roster.restore(roster.snapshot(), { appliedIndex: roster.appliedIndex, ...options });
}
