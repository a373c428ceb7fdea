/** Which member is to take the place of which (MemberRecord.replaces): how that begins, and how it ends. Pure. */
import { RosterEvent_Kind } from "../generated/muster/storage/v1/snapshot";
import type { MemberRecord } from "../generated/muster/storage/v1/snapshot";
import { MemberTarget } from "../generated/muster/v1/member";
import { formatId } from "./ids";
import { refuse } from "./refusal";
import type { Refusal } from "./refusal";
import { nameAndId, record } from "./verdict";
import type { Accepted, Effect } from "./verdict";
import type { RosterView } from "./view";

/** One replacement of a member at a time. What takes the place of a replacement in place goes on with it. */
export function checkReplaceable(
  roster: RosterView,
  found: MemberRecord,
  sideBySide: boolean,
): Refusal | null {
  const replacement = replacementOf(roster, found.id);
  if (replacement !== null) return refuseReplacement(replacement, found);
  const replaced = found.replaces === 0n || !sideBySide ? null : roster.member(found.replaces);
  return replaced === null ? null : refuseReplacement(found, replaced);
}

function refuseReplacement(replacement: MemberRecord, replaced: MemberRecord): Refusal {
  const other = { replaced_id: formatId(replaced.id), replaced_name: replaced.name };
  return refuse("REPLACEMENT_UNDER_WAY", { ...nameAndId(replacement), ...other });
}

/** The member that is to take the place of this one. */
function replacementOf(roster: RosterView, id: bigint): MemberRecord | null {
  return roster.members().find(({ replaces }) => replaces === id) ?? null;
}

export function withReplaces(added: Accepted, replaces: bigint): Accepted {
  if (added.member === null || replaces === 0n) return added;
  const member = record({ ...added.member, replaces });
  return { ...added, member, effects: [{ event: RosterEvent_Kind.ADDED, member }] };
}

/**
 * A member that was to take the place of one that leaves, whatever the reason, has nobody to replace any more. What the other
 * one was to become by then it is to become now: a voter may have become a standby since its replacement began, or the reverse.
 */
export function endReplacements(
  roster: RosterView,
  effects: readonly Effect[],
  index: number,
): readonly Effect[] {
  const removed = new Map<bigint, MemberRecord>();
  for (const effect of effects)
    if (effect.event === RosterEvent_Kind.REMOVED) removed.set(effect.member.id, effect.member);
  if (removed.size === 0) return effects;
  const ended = effects.map((effect): Effect => {
    if (effect.event === RosterEvent_Kind.SETTINGS || effect.event === RosterEvent_Kind.REMOVED)
      return effect;
    const old = removed.get(effect.member.replaces);
    return old === undefined ? effect : { ...effect, member: inheriting(effect.member, old) };
  });
  const changedIds = new Set(effects.flatMap((effect) => ("member" in effect ? [effect.member.id] : [])));
  const others = roster.members().flatMap((member): Effect[] => {
    const old = removed.get(member.replaces);
    if (old === undefined || changedIds.has(member.id)) return [];
    const after = { ...inheriting(member, old), updateRevision: index };
    return [{ event: RosterEvent_Kind.UPDATED, member: record(after) }];
  });
  return [...ended, ...others];
}

function inheriting(member: MemberRecord, old: MemberRecord): MemberRecord {
  const target = member.learner && old.learner ? old.target : MemberTarget.UNSPECIFIED;
  return record({ ...member, replaces: 0n, target });
}
