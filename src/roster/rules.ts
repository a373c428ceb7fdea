/**
 * The roster's rules: the changes that a command makes, or why it is refused.
 *
 * Every member decides the same, because the rules read only the command and the roster, and change neither.
 * Invariants: no two members share an id, a name or a peer URL; the id of a tombstone is never used again; at least one
 * voter remains; `started` is never reset; a voter's target is a voter; `replaces` names a member, and no two members replace
 * the same one. Request ids and expected revisions are decided before, in roster.ts. Pure.
 */
import type {
  AddMemberCommand,
  ChangeMembersCommand,
  MemberSelector,
  PublishCommand,
  RefuseCommand,
  ReplaceMemberCommand,
  RosterCommand,
  UpdateSettingsCommand,
} from "../generated/muster/storage/v1/command";
import { MemberTarget } from "../generated/muster/v1/member";
import { RosterEvent_Kind } from "../generated/muster/storage/v1/snapshot";
import type { ClusterSettings, MemberRecord, Tombstone } from "../generated/muster/storage/v1/snapshot";
import { sameBytes } from "./bytes";
import { formatId, isReservedId } from "./ids";
import { isReason, refuse } from "./refusal";
import type { Refusal } from "./refusal";
import { checkReplaceable, endReplacements, withReplaces } from "./replacements";
import { formatTime } from "./time";
import type { SettingsFields } from "./validation";
import { invalid, nameAndId, no, record, removal } from "./verdict";
import type { Effect, Verdict } from "./verdict";
import type { RosterView } from "./view";

type Found =
  { readonly ok: true; readonly member: MemberRecord } | { readonly ok: false; readonly refusal: Refusal };

/**
 * Most members that are no voters. Each costs the leader what a voter costs it: a stream, and every entry; and the roster
 * has to fit into one snapshot with all that is remembered of it.
 */
export const LEARNERS_MAX = 32;

/**
 * Decides on a command.
 *
 * @param index the entry's log index, which becomes the revision of the changed records; 0 when the command is only
 *   evaluated
 */
export function decide(roster: RosterView, command: RosterCommand, index: number): Verdict {
  const verdict = decideBody(roster, command, index);
  return verdict.ok ? { ...verdict, effects: endReplacements(roster, verdict.effects, index) } : verdict;
}

function decideBody(roster: RosterView, command: RosterCommand, index: number): Verdict {
  const { body } = command;
  switch (body?.$case) {
    case "addMember":
      return decideAdd(roster, body.value, index);
    case "updateMember": {
      const { member, newPeerUrl } = body.value;
      return withMember(roster, member, (found) => decideUpdate(roster, found, newPeerUrl, index));
    }
    case "removeMember": {
      const { member, peerUrl } = body.value;
      return withMember(roster, member, (found) =>
        decideRemove(roster, found, peerUrl, index, command.timeMs),
      );
    }
    case "updateAdminUrls": {
      const { member, adminUrls } = body.value;
      return withMember(roster, member, (found) => decideAdminUrls(found, adminUrls, index));
    }
    case "publish": {
      const { value } = body;
      return withMember(roster, { id: value.id, name: "" }, (found) => decidePublish(found, value, index));
    }
    case "promoteMember":
      return withMember(roster, body.value.member, (found) => decidePromote(found, index));
    case "replaceMember": {
      const { value } = body;
      return withMember(roster, value.member, (found) =>
        decideReplace(roster, found, value, index, command.timeMs),
      );
    }
    case "updateSettings":
      return decideSettings(roster.settings, body.value, index);
    case "changeMembers":
      return decideChange(roster, body.value, index, command.timeMs);
    case "refuse":
      return decideRefuse(body.value);
    case undefined:
      return no(invalid("command", "must be given"));
  }
}

/** Calls `next` with the member that the selector names, or returns the refusal. */
function withMember(
  roster: RosterView,
  selector: MemberSelector | undefined,
  next: (member: MemberRecord) => Verdict,
): Verdict {
  const found = resolve(roster, selector ?? { id: 0n, name: "" });
  return found.ok ? next(found.member) : found;
}

/** Looks up by id when one is given, and checks the name against it; otherwise by name. */
export function resolve(roster: RosterView, { id, name }: MemberSelector): Found {
  if (id === 0n) {
    if (name === "") return no(invalid("name", "or id must be given to say which member is meant"));
    const member = roster.memberByName(name);
    if (member !== null) return { ok: true, member };
    const removed = roster.tombstonesByName(name).at(-1);
    return no(removed === undefined ? refuse("MEMBER_NOT_FOUND", { name }) : refuseRemoved(removed));
  }
  const known = roster.member(id) ?? roster.tombstone(id);
  if (known === null) return no(refuse("MEMBER_NOT_FOUND", { id: formatId(id) }));
  if (name !== "" && known.name !== name) {
    return no(refuse("MEMBER_MISMATCH", { id: formatId(id), name: known.name, given_name: name }));
  }
  const member = roster.member(id);
  return member === null ? no(refuseRemoved(known as Tombstone)) : { ok: true, member };
}

/** @param leaving the member that the same command removes, if any: its name and peer URL may be used again */
function decideAdd(
  roster: RosterView,
  add: AddMemberCommand,
  index: number,
  leaving: MemberRecord | null = null,
): Verdict {
  const id = formatId(add.id);
  if (isReservedId(add.id)) return no(invalid("id", `must not be the reserved id ${id}`));
  if (add.name === "") return no(invalid("name", "must not be empty"));
  if (add.peerUrl === "") return no(invalid("peer_url", "must not be empty"));
  if (roster.member(add.id) !== null || roster.tombstone(add.id) !== null) {
    return no(refuse("MEMBER_ID_EXISTS", { id }));
  }
  const namesake = roster.memberByName(add.name);
  if (namesake !== null && namesake.id !== leaving?.id) {
    return no(refuseName(namesake, add.peerUrl));
  }
  const owner = ownerOf(roster, add.peerUrl);
  if (owner !== null && owner.id !== leaving?.id) return no(refusePeerUrl(owner, add.peerUrl));
  if (add.learner && leaving?.learner !== true && learnersOf(roster) >= LEARNERS_MAX) {
    return no(refuse("TOO_MANY_LEARNERS", { max: String(LEARNERS_MAX) }));
  }
  const member = record({
    id: add.id,
    name: add.name,
    peerUrls: [add.peerUrl],
    adminUrls: add.adminUrls,
    learner: add.learner,
    instanceId: NO_BYTES,
    version: "",
    started: false,
    createRevision: index,
    updateRevision: index,
    bootId: NO_BYTES,
    bootRevision: 0,
    target: add.learner ? add.target : MemberTarget.UNSPECIFIED,
    replaces: 0n,
  });
  return { ok: true, member, targets: [], effects: [{ event: RosterEvent_Kind.ADDED, member }] };
}

function decideUpdate(roster: RosterView, found: MemberRecord, newPeerUrl: string, index: number): Verdict {
  if (newPeerUrl === "") return no(invalid("new_peer_url", "must not be empty"));
  const owner = ownerOf(roster, newPeerUrl);
  if (owner !== null && owner.id !== found.id) return no(refusePeerUrl(owner, newPeerUrl));
  if (sameList(found.peerUrls, [newPeerUrl])) return unchanged(found);
  return changed(
    RosterEvent_Kind.UPDATED,
    record({ ...found, peerUrls: [newPeerUrl], updateRevision: index }),
  );
}

function decideRemove(
  roster: RosterView,
  found: MemberRecord,
  peerUrl: string,
  index: number,
  timeMs: number,
): Verdict {
  const refusal = checkPeerUrl(found, peerUrl);
  if (refusal !== null) return no(refusal);
  if (isLastVoter(roster, found)) return no(refuse("LAST_VOTER", nameAndId(found)));
  return { ok: true, member: found, targets: [found.id], effects: [removal(found, index, timeMs)] };
}

function decideAdminUrls(found: MemberRecord, adminUrls: readonly string[], index: number): Verdict {
  if (adminUrls.length === 0) return no(invalid("admin_urls", "must have at least one URL"));
  if (sameList(found.adminUrls, adminUrls)) return unchanged(found);
  return changed(
    RosterEvent_Kind.UPDATED,
    record({ ...found, adminUrls: [...adminUrls], updateRevision: index }),
  );
}

/**
 * Publish alone sets `started`. A second instance id under a started member is refused: a member that lost its data
 * directory could vote twice in one term.
 */
function decidePublish(found: MemberRecord, publish: PublishCommand, index: number): Verdict {
  const { instanceId, adminUrls, version } = publish;
  if (instanceId.length === 0) return no(invalid("instance_id", "must not be empty"));
  const sameInstance = sameBytes(found.instanceId, instanceId);
  if (found.started && !sameInstance) return no(refuse("MEMBER_WIPED", nameAndId(found)));
  if (!descendsFrom(found.bootId, publish.bootId, publish.previousBootIds))
    return no(refuse("MEMBER_ROLLED_BACK", nameAndId(found)));
  const newBoot = publish.bootId.length > 0 && !sameBytes(found.bootId, publish.bootId);
  const boot = newBoot ? { bootId: publish.bootId, bootRevision: index } : {};
  if (found.started && found.version === version && sameList(found.adminUrls, adminUrls)) {
    if (publish.bootId.length === 0) return unchanged(found);
    // It goes into the log also when it tells nothing new: its answer must be remembered, in case it arrives again.
    const member = newBoot ? record({ ...found, ...boot }) : found;
    return { ok: true, member, targets: [found.id], effects: [{ event: null, member }] };
  }
  return changed(
    RosterEvent_Kind.UPDATED,
    record({ ...found, ...boot, started: true, instanceId, adminUrls, version, updateRevision: index }),
  );
}

/**
 * Whether a data directory that started as `bootId`, and before as `previous`, is the one that published `known`, or what
 * became of it. False: it is an older copy, or another copy published since. Empty ids are unknown, and fit: members of a
 * version without boot ids have none.
 */
export function descendsFrom(
  known: Uint8Array,
  bootId: Uint8Array,
  previous: readonly Uint8Array[],
): boolean {
  if (known.length === 0 || bootId.length === 0) return true;
  return sameBytes(known, bootId) || previous.some((boot) => sameBytes(known, boot));
}

/** Two leaders, one after the other, may both promote a learner: the second time nothing is left to do. */
function decidePromote(found: MemberRecord, index: number): Verdict {
  if (!found.learner) return unchanged(found);
  const target = MemberTarget.UNSPECIFIED;
  return changed(
    RosterEvent_Kind.PROMOTED,
    record({ ...found, learner: false, target, updateRevision: index }),
  );
}

/**
 * In place: a removal and an add at one index. The last voter may be removed so when its replacement is a voter. Side by
 * side: an add alone, of a member that knows whom it is to replace.
 */
function decideReplace(
  roster: RosterView,
  found: MemberRecord,
  { peerUrl, replacement, sideBySide }: ReplaceMemberCommand,
  index: number,
  timeMs: number,
): Verdict {
  if (replacement === undefined) return no(invalid("replacement", "must be given"));
  const refusal = checkPeerUrl(found, peerUrl) ?? checkReplaceable(roster, found, sideBySide);
  if (refusal !== null) return no(refusal);
  const add = {
    ...replacement,
    name: replacement.name === "" ? found.name : replacement.name,
    peerUrl: replacement.peerUrl === "" ? (found.peerUrls[0] ?? "") : replacement.peerUrl,
    target: found.learner ? found.target : replacement.target,
  };
  if (sideBySide) {
    if (replacement.peerUrl === "") return no(invalid("peer_url", "must be given with another name"));
    const added = decideAdd(roster, add, index);
    return added.ok ? withReplaces(added, found.id) : added;
  }
  if (replacement.learner && isLastVoter(roster, found)) return no(refuse("LAST_VOTER", nameAndId(found)));
  const added = decideAdd(roster, add, index, found);
  if (!added.ok) return added;
  const inherited = withReplaces(added, found.replaces);
  return {
    ...inherited,
    targets: [found.id],
    effects: [removal(found, index, timeMs), ...inherited.effects],
  };
}

function decideSettings(
  current: ClusterSettings,
  { autoPromote, standbyTakeoverAfter, removeUnstartedAfter }: UpdateSettingsCommand,
  index: number,
): Verdict {
  const changes = {
    autoPromote,
    standbyTakeoverAfterMs: standbyTakeoverAfter?.ms,
    removeUnstartedAfterMs: removeUnstartedAfter?.ms,
  };
  const settings = Object.freeze({ ...withSettings(current, changes), updateRevision: index });
  const isSame =
    settings.autoPromote === current.autoPromote &&
    settings.standbyTakeoverAfterMs === current.standbyTakeoverAfterMs &&
    settings.removeUnstartedAfterMs === current.removeUnstartedAfterMs;
  const effects: Effect[] = isSame ? [] : [{ event: RosterEvent_Kind.SETTINGS, settings }];
  return { ok: true, member: null, targets: [], effects };
}

/** The settings with those changes that are given. */
export function withSettings(current: ClusterSettings, changes: SettingsFields): ClusterSettings {
  return {
    autoPromote: changes.autoPromote ?? current.autoPromote,
    standbyTakeoverAfterMs: changes.standbyTakeoverAfterMs ?? current.standbyTakeoverAfterMs,
    removeUnstartedAfterMs: changes.removeUnstartedAfterMs ?? current.removeUnstartedAfterMs,
    updateRevision: current.updateRevision,
  };
}

/** In the order of confChangeSteps (commands.ts). */
const CHANGE_FIELDS = ["promote", "demote", "standBy", "remove"] as const;

/** All or nothing: several members change their role, or leave, at one index. */
function decideChange(
  roster: RosterView,
  change: ChangeMembersCommand,
  index: number,
  timeMs: number,
): Verdict {
  const named = new Map<bigint, MemberRecord>();
  const effects: Effect[] = [];
  for (const field of CHANGE_FIELDS) {
    for (const [i, selector] of change[field].entries()) {
      const found = resolve(roster, selector);
      if (!found.ok) return found;
      const { member } = found;
      if (named.has(member.id)) return no(invalid(`${field}[${i}]`, `names ${member.name} a second time`));
      named.set(member.id, member);
      const effect = effectOn(member, field, index, timeMs);
      if (effect !== null) effects.push(effect);
    }
  }
  if (named.size === 0) return no(invalid("promote", "demote or remove must name a member"));
  const after = new Map(roster.members().map((member) => [member.id, member]));
  for (const effect of effects) {
    if (effect.event === RosterEvent_Kind.SETTINGS) continue;
    if (effect.event === RosterEvent_Kind.REMOVED) after.delete(effect.member.id);
    else after.set(effect.member.id, effect.member);
  }
  const learners = [...after.values()].filter(({ learner }) => learner).length;
  if (learners === after.size) {
    const last = [...named.values()].find(({ learner }) => !learner);
    return no(refuse("LAST_VOTER", nameAndId(last ?? { id: 0n, name: "" })));
  }
  if (learners > LEARNERS_MAX && learners > learnersOf(roster)) {
    return no(refuse("TOO_MANY_LEARNERS", { max: String(LEARNERS_MAX) }));
  }
  return { ok: true, member: null, targets: [...named.keys()], effects };
}

/** What a change of several members does to one of them; null when the member is so already. */
function effectOn(
  member: MemberRecord,
  what: (typeof CHANGE_FIELDS)[number],
  index: number,
  timeMs: number,
): Effect | null {
  if (what === "remove") return removal(member, index, timeMs);
  const { UNSPECIFIED, LEARNER, STANDBY } = MemberTarget;
  if (what === "promote") {
    if (!member.learner) return null;
    const promoted = { ...member, learner: false, target: UNSPECIFIED, updateRevision: index };
    return { event: RosterEvent_Kind.PROMOTED, member: record(promoted) };
  }
  // With a voter as target the leader would promote it again.
  const target = what === "standBy" ? STANDBY : LEARNER;
  if (member.learner && member.target === target && member.replaces === 0n) return null;
  const demoted = record({ ...member, learner: true, target, replaces: 0n, updateRevision: index });
  return { event: member.learner ? RosterEvent_Kind.UPDATED : RosterEvent_Kind.DEMOTED, member: demoted };
}

/** The leader's own refusal, in its own words. */
function decideRefuse({ reason, metadata, text }: RefuseCommand): Verdict {
  const given = Object.fromEntries(metadata);
  return no(
    isReason(reason)
      ? { reason, message: text, metadata: given }
      : { reason: "INTERNAL", message: text, metadata: given },
  );
}

const NO_BYTES = Buffer.alloc(0);

function unchanged(member: MemberRecord): Verdict {
  return { ok: true, member, targets: [member.id], effects: [] };
}

function changed(event: RosterEvent_Kind.UPDATED | RosterEvent_Kind.PROMOTED, member: MemberRecord): Verdict {
  return { ok: true, member, targets: [member.id], effects: [{ event, member }] };
}

function ownerOf(roster: RosterView, peerUrl: string): MemberRecord | null {
  return roster.members().find((member) => member.peerUrls.includes(peerUrl)) ?? null;
}

function learnersOf(roster: RosterView): number {
  return roster.members().filter(({ learner }) => learner).length;
}

function isLastVoter(roster: RosterView, member: MemberRecord): boolean {
  return !member.learner && !roster.members().some((other) => !other.learner && other.id !== member.id);
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** A learner that has not started may have been added with a wrong URL, which is easily mended: the refusal says how. */
function refuseName(namesake: MemberRecord, givenPeerUrl: string): Refusal {
  const metadata = nameAndId(namesake);
  if (namesake.started || !namesake.learner) return refuse("MEMBER_NAME_EXISTS", metadata);
  const urls = { peer_url: namesake.peerUrls.join(","), given_peer_url: givenPeerUrl };
  return refuse("MEMBER_NAME_EXISTS", { ...metadata, started: "false", ...urls });
}

function refusePeerUrl(owner: MemberRecord, peerUrl: string): Refusal {
  return refuse("PEER_URL_EXISTS", { ...nameAndId(owner), peer_url: peerUrl });
}

/** The caller's guard against removing the wrong member: a given peer URL must be the member's own. */
function checkPeerUrl(member: MemberRecord, given: string): Refusal | null {
  if (given === "" || member.peerUrls.includes(given)) return null;
  const own = member.peerUrls.join(",");
  return refuse("MEMBER_MISMATCH", { ...nameAndId(member), peer_url: own, given_peer_url: given });
}

function refuseRemoved(tombstone: Tombstone): Refusal {
  const time = formatTime(tombstone.timeMs);
  return refuse("MEMBER_REMOVED", { ...nameAndId(tombstone), revision: String(tombstone.revision), time });
}
