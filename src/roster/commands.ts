/**
 * Roster commands: how they are built, written into entries and read back, and the membership change of each.
 *
 * Invariants: a command carries everything apply needs (ids, times), because apply reads no clock; a member never
 * skips a command that it does not know; admin URLs, publish and refusals are normal entries, every other command is a
 * membership change. Pure.
 */
import { CommandKind, RosterCommand } from "../generated/muster/storage/v1/command";
import type { AddMemberCommand, MemberSelector } from "../generated/muster/storage/v1/command";
import { MemberTarget } from "../generated/muster/v1/member";
import { ConfChangeTransition, ConfChangeType, EntryType } from "../raft/index";
import type { ConfChange, ConfChangeSingle, Entry } from "../raft/index";
import { joinParts } from "./bytes";
import type { Sha256 } from "./bytes";
import type { Refusal } from "./refusal";
import { quote } from "./text";
import type { SelectorFields, SettingsFields, WriteFields } from "./validation";
import type { RosterView } from "./view";

type Body = NonNullable<RosterCommand["body"]>;

/** One row per kind of command, by its body: its number, and the newest version of its meaning that this build knows. */
const KINDS = {
  addMember: { kind: CommandKind.ADD_MEMBER, version: 2 },
  updateMember: { kind: CommandKind.UPDATE_MEMBER, version: 1 },
  removeMember: { kind: CommandKind.REMOVE_MEMBER, version: 1 },
  updateAdminUrls: { kind: CommandKind.UPDATE_ADMIN_URLS, version: 1 },
  publish: { kind: CommandKind.PUBLISH, version: 1 },
  promoteMember: { kind: CommandKind.PROMOTE_MEMBER, version: 1 },
  replaceMember: { kind: CommandKind.REPLACE_MEMBER, version: 2 },
  refuse: { kind: CommandKind.REFUSE, version: 1 },
  changeMembers: { kind: CommandKind.CHANGE_MEMBERS, version: 1 },
  updateSettings: { kind: CommandKind.UPDATE_SETTINGS, version: 1 },
} as const satisfies Record<Body["$case"], { kind: CommandKind; version: number }>;

/** The newest version of each command that this build knows. A kind that is missing here is unknown. */
export const COMMAND_VERSIONS: ReadonlyMap<CommandKind, number> = new Map<CommandKind, number>(
  Object.values(KINDS).map(({ kind, version }) => [kind, version]),
);

/**
 * Largest encoded command that a leader proposes, in bytes. The fields that requests may have need a quarter of it at
 * most, and one append message carries 1 MiB: a larger entry could be appended and never be sent, and would block every
 * write behind it.
 */
export const COMMAND_BYTES_MAX = 64 * 1024;

/**
 * An entry holds a command that this build does not know or can't read. The member must stop: without the command its
 * roster would differ from the other members'.
 */
export class UnknownCommandError extends Error {
  override readonly name = "UnknownCommandError";
}

/** The bytes are no command of any version: a defect of the sender, or damage. */
class UndecodableCommandError extends UnknownCommandError {}

/** The fields that every command has beside its body. */
export interface CommandEnvelope {
  /** Identifies the call that waits for the outcome on the proposing member; unique per proposal. */
  readonly proposalId: bigint;
  /** The proposing leader's wall clock, milliseconds since 1970. */
  readonly timeMs: number;
  /** Not given: the outcome is not remembered (bootstrap, publish). */
  readonly requestId?: string;
  /** From `fingerprint`; required with a requestId. */
  readonly fingerprint?: Uint8Array;
  /** 0 or not given: any revision. */
  readonly expectedRevision?: number;
  /** The revision of the settings that it depends on. @default any settings */
  readonly settingsRevision?: number | undefined;
  /** Why, as the caller said. @default none */
  readonly note?: string;
  /** Who asked for it. @default empty: nobody, as for the first members of a cluster */
  readonly caller?: string;
}

/** The member to add. URLs are normalised; the caller chooses the id. */
export interface NewMember {
  readonly id: bigint;
  readonly name: string;
  readonly peerUrl: string;
  readonly adminUrls: readonly string[];
  /** @default false */
  readonly learner?: boolean;
  /** What a learner is to become. @default MemberTarget.UNSPECIFIED: a voter */
  readonly target?: MemberTarget;
}

export function addMemberCommand(envelope: CommandEnvelope, member: NewMember): RosterCommand {
  const value = newMember(member);
  const command = build(envelope, { $case: "addMember", value });
  // Without a target the command means what it meant in version 1, and members of every version apply it.
  return value.target === MemberTarget.UNSPECIFIED ? { ...command, version: 1 } : command;
}

export function updateMemberCommand(
  envelope: CommandEnvelope,
  fields: { readonly member: SelectorFields; readonly newPeerUrl: string },
): RosterCommand {
  const value = { member: selector(fields.member), newPeerUrl: fields.newPeerUrl };
  return build(envelope, { $case: "updateMember", value });
}

/** @param fields peerUrl: empty, or a guard: the command is refused unless it is the member's own peer URL */
export function removeMemberCommand(
  envelope: CommandEnvelope,
  fields: { readonly member: SelectorFields; readonly peerUrl: string },
): RosterCommand {
  const value = { member: selector(fields.member), peerUrl: fields.peerUrl };
  return build(envelope, { $case: "removeMember", value });
}

export function updateAdminUrlsCommand(
  envelope: CommandEnvelope,
  fields: { readonly member: SelectorFields; readonly adminUrls: readonly string[] },
): RosterCommand {
  const value = { member: selector(fields.member), adminUrls: [...fields.adminUrls] };
  return build(envelope, { $case: "updateAdminUrls", value });
}

/** A started member publishes its facts. `instanceId` is the 128-bit id that its data directory was created with. */
export function publishCommand(
  envelope: CommandEnvelope,
  fields: {
    readonly id: bigint;
    readonly instanceId: Uint8Array;
    readonly adminUrls: readonly string[];
    readonly version: string;
    /** Of the start that publishes. @default empty: unknown */
    readonly bootId?: Uint8Array;
    /** Of its last publish that is known to be committed, and of the starts since. @default none */
    readonly previousBootIds?: readonly Uint8Array[];
  },
): RosterCommand {
  const { id, instanceId, adminUrls, version, bootId = NO_BYTES, previousBootIds = [] } = fields;
  const value = {
    id,
    instanceId: Buffer.from(instanceId),
    adminUrls: [...adminUrls],
    version,
    bootId: Buffer.from(bootId),
    previousBootIds: previousBootIds.map((boot) => Buffer.from(boot)),
  };
  return build(envelope, { $case: "publish", value });
}

export function promoteMemberCommand(
  envelope: CommandEnvelope,
  fields: { readonly member: SelectorFields },
): RosterCommand {
  return build(envelope, { $case: "promoteMember", value: { member: selector(fields.member) } });
}

export function changeMembersCommand(
  envelope: CommandEnvelope,
  fields: {
    readonly promote: readonly SelectorFields[];
    readonly demote: readonly SelectorFields[];
    readonly remove: readonly SelectorFields[];
    /** Voters that become standbys. @default none */
    readonly standBy?: readonly SelectorFields[];
  },
): RosterCommand {
  const { promote, demote, remove, standBy = [] } = fields;
  const value = {
    promote: promote.map(selector),
    demote: demote.map(selector),
    remove: remove.map(selector),
    standBy: standBy.map(selector),
  };
  return build(envelope, { $case: "changeMembers", value });
}

export function replaceMemberCommand(
  envelope: CommandEnvelope,
  fields: {
    readonly member: SelectorFields;
    readonly peerUrl: string;
    /** Name and peer URL may be empty: those of the old member. */
    readonly replacement: NewMember;
    /** The old member stays until the new one is ready. @default false: one change removes it and adds the new one */
    readonly sideBySide?: boolean;
  },
): RosterCommand {
  const { member, peerUrl, replacement, sideBySide = false } = fields;
  const value = { member: selector(member), peerUrl, replacement: newMember(replacement), sideBySide };
  return build(envelope, { $case: "replaceMember", value });
}

/** What is not given stays as it is. */
export function updateSettingsCommand(
  envelope: CommandEnvelope,
  { autoPromote, standbyTakeoverAfterMs, removeUnstartedAfterMs }: SettingsFields,
): RosterCommand {
  const value = {
    autoPromote,
    standbyTakeoverAfter: milliseconds(standbyTakeoverAfterMs),
    removeUnstartedAfter: milliseconds(removeUnstartedAfterMs),
  };
  return build(envelope, { $case: "updateSettings", value });
}

function milliseconds(ms: number | undefined): { ms: number } | undefined {
  return ms === undefined ? undefined : { ms };
}

/**
 * Remembers the leader's refusal of `command` under its request id, unless the id is known by then: an attempt of the
 * same write that arrives later gets the refusal too.
 */
export function refuseCommand(command: RosterCommand, proposalId: bigint, refusal: Refusal): RosterCommand {
  const { requestId, fingerprint: hash, timeMs, requestBase } = command;
  const metadata = new Map(Object.entries(refusal.metadata));
  const value = { reason: refusal.reason, metadata, text: refusal.message.slice(0, REFUSAL_TEXT_MAX) };
  const envelope = { proposalId, timeMs, requestId, fingerprint: hash };
  return { ...build(envelope, { $case: "refuse", value }), requestBase };
}

/** Longest text of a remembered refusal, in characters: room for the names of all voters. */
const REFUSAL_TEXT_MAX = 2000;

/** The bytes of an entry's data or a membership change's context. */
export function encodeCommand(command: RosterCommand): Uint8Array {
  return RosterCommand.encode(command).finish();
}

/** @throws UnknownCommandError for a kind or version that this build does not know, and for bytes that don't decode */
export function decodeCommand(bytes: Uint8Array): RosterCommand {
  let command: RosterCommand;
  try {
    command = RosterCommand.decode(bytes);
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new UndecodableCommandError(
      `a roster command of ${bytes.length} bytes does not decode: ${quote(cause)}`,
    );
  }
  const { kind, version, body } = command;
  const known = COMMAND_VERSIONS.get(kind);
  if (known === undefined || version < 1 || version > known) {
    // Kinds and versions begin at 1; what a newer build adds is larger than what this one knows.
    const UnknownError = version < 1 || (kind as number) < 1 ? UndecodableCommandError : UnknownCommandError;
    throw new UnknownError(
      `roster command kind ${kind} version ${version} is not known here ` +
        `(known version: ${known ?? "none"}); start this member with the version that its cluster runs`,
    );
  }
  if (body === undefined || KINDS[body.$case].kind !== kind) {
    throw new UndecodableCommandError(`roster command kind ${kind} has the body ${body?.$case ?? "none"}`);
  }
  if (body.$case === "replaceMember" && body.value.replacement === undefined) {
    throw new UndecodableCommandError(`roster command kind ${kind} has no replacement`);
  }
  return command;
}

/**
 * What is wrong with bytes that are a command of no version; null for a command that decodes, and for one of a kind or
 * version that only a newer build knows.
 */
export function undecodableCommand(bytes: Uint8Array): string | null {
  try {
    decodeCommand(bytes);
    return null;
  } catch (error) {
    return error instanceof UndecodableCommandError ? error.message : null;
  }
}

/**
 * The command of an entry; null when there is none (a leader's first entry, a change that the leader's core refused,
 * leaving a joint configuration).
 *
 * @throws UnknownCommandError as decodeCommand
 */
export function commandOf(entry: Entry): RosterCommand | null {
  if (entry.type === EntryType.Normal) return entry.data.length === 0 ? null : decodeCommand(entry.data);
  const change = entry.confChange;
  if (change === null)
    throw new UnknownCommandError(`the membership change at index ${entry.index} is missing`);
  return change.changes.length === 0 && change.context.length === 0 ? null : decodeCommand(change.context);
}

/**
 * Distinguishes a repeated request from a different request that reuses its request_id: a hash over the RPC's name and
 * the normalised client fields, in a canonical form that does not depend on the order of properties. request_id and
 * validate_only are left out, and so is a note that is not given: the fingerprint of a request without one is the same as in
 * versions that have no notes.
 */
export function fingerprint(sha256: Sha256, rpc: string, fields: WriteFields): Uint8Array {
  const parts = ["muster.fingerprint.v1", rpc];
  addFields(parts, "", fields);
  return sha256(joinParts(parts));
}

/** The kinds that are normal entries. */
const NORMAL_KINDS: ReadonlySet<CommandKind> = new Set<CommandKind>([
  CommandKind.PUBLISH,
  CommandKind.UPDATE_ADMIN_URLS,
  CommandKind.REFUSE,
  CommandKind.UPDATE_SETTINGS,
]);

/** Whether the command must be proposed as a membership change, which is possible only while none is pending. */
export function needsConfChange(command: RosterCommand): boolean {
  return !NORMAL_KINDS.has(command.kind);
}

/**
 * The membership change to propose for a command, with the encoded command as its context.
 *
 * Null means a normal entry: for admin URLs and publish, and for a command that names a member that the roster does not
 * have. Apply refuses the latter, or answers it with the remembered outcome; neither changes the configuration.
 */
export function confChange(roster: RosterView, command: RosterCommand): ConfChange | null {
  const { body } = command;
  if (body === undefined || !needsConfChange(command)) return null;
  const targets = selectorsOf(command).map(({ id, name }) =>
    id !== 0n ? roster.member(id) : roster.memberByName(name),
  );
  const ids = targets.flatMap((found) => (found === null ? [] : [found.id]));
  if (ids.length < targets.length) return null;
  const changes = confChangeSteps(command, ids);
  if (changes === null) return null;
  const isJoint =
    (body.$case === "replaceMember" && !body.value.sideBySide) || body.$case === "changeMembers";
  const transition = isJoint ? ConfChangeTransition.JointImplicit : ConfChangeTransition.Auto;
  return { transition, changes, context: encodeCommand(command) };
}

/** The members that a command names, in the order of its fields; none for an add. */
export function selectorsOf({ body }: RosterCommand): readonly MemberSelector[] {
  switch (body?.$case) {
    case "updateMember":
    case "removeMember":
    case "updateAdminUrls":
    case "promoteMember":
    case "replaceMember":
      return [body.value.member ?? { id: 0n, name: "" }];
    case "changeMembers":
      return [...body.value.promote, ...body.value.demote, ...body.value.standBy, ...body.value.remove];
    case "addMember":
    case "publish":
    case "refuse":
    case "updateSettings":
    case undefined:
      return [];
  }
}

/** The steps of the membership change for a command; null for a normal entry. @param targets see selectorsOf */
export function confChangeSteps(
  command: RosterCommand,
  targets: readonly bigint[],
): readonly ConfChangeSingle[] | null {
  const { body } = command;
  const targetId = targets[0] ?? 0n;
  switch (body?.$case) {
    case "addMember":
      return [addStep(body.value)];
    case "updateMember":
      return [{ type: ConfChangeType.Update, nodeId: targetId }];
    case "removeMember":
      return [{ type: ConfChangeType.Remove, nodeId: targetId }];
    case "promoteMember":
      return [{ type: ConfChangeType.AddVoter, nodeId: targetId }];
    case "replaceMember": {
      const { replacement, sideBySide } = body.value;
      if (sideBySide && replacement !== undefined) return [addStep(replacement)];
      const remove = { type: ConfChangeType.Remove, nodeId: targetId };
      return replacement === undefined ? [remove] : [remove, addStep(replacement)];
    }
    case "changeMembers": {
      const promoted = body.value.promote.length;
      const stay = promoted + body.value.demote.length + body.value.standBy.length;
      const typeOf = (i: number): ConfChangeType =>
        i < promoted ? ConfChangeType.AddVoter : i < stay ? ConfChangeType.AddLearner : ConfChangeType.Remove;
      return targets.map((nodeId, i) => ({ type: typeOf(i), nodeId }));
    }
    case "updateAdminUrls":
    case "publish":
    case "refuse":
    case "updateSettings":
    case undefined:
      return null;
  }
}

function addStep(member: AddMemberCommand): ConfChangeSingle {
  return { type: member.learner ? ConfChangeType.AddLearner : ConfChangeType.AddVoter, nodeId: member.id };
}

const NO_BYTES = Buffer.alloc(0);

function build(envelope: CommandEnvelope, body: Body): RosterCommand {
  const { kind, version } = KINDS[body.$case];
  const { fingerprint: hash, settingsRevision: settings } = envelope;
  return {
    kind,
    version,
    proposalId: envelope.proposalId,
    requestId: envelope.requestId ?? "",
    fingerprint: hash === undefined ? NO_BYTES : Buffer.from(hash.buffer, hash.byteOffset, hash.length),
    expectedRevision: envelope.expectedRevision ?? 0,
    timeMs: envelope.timeMs,
    generatedRequestId: false,
    requestBase: 0,
    note: envelope.note ?? "",
    caller: envelope.caller ?? "",
    expectedSettings: settings === undefined ? undefined : { revision: settings },
    body,
  };
}

function newMember(member: NewMember): AddMemberCommand {
  const { id, name, peerUrl, adminUrls, learner = false } = member;
  const { target = MemberTarget.UNSPECIFIED } = member;
  return { id, name, peerUrl, adminUrls: [...adminUrls], learner, target: keptTarget(target) };
}

/** A target as records keep it: a voter is not said, as in records of versions that knew no target. */
function keptTarget(target: MemberTarget): MemberTarget {
  return target === MemberTarget.VOTER ? MemberTarget.UNSPECIFIED : target;
}

function selector(fields: SelectorFields): MemberSelector {
  return { id: fields.id, name: fields.name };
}

/** Appends path and value of every field, sorted by name. A list is preceded by its length. */
function addFields(parts: string[], path: string, fields: object): void {
  const entries = Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)) as [string, unknown][];
  for (const [name, value] of entries) {
    if (path === "" && (name === "requestId" || name === "validateOnly")) continue;
    if (path === "" && name === "note" && value === "") continue;
    const key = `${path}${name}`;
    if (Array.isArray(value)) {
      parts.push(key, `list ${value.length}`, ...value.map(canonical));
    } else if (typeof value === "object" && value !== null) {
      addFields(parts, `${key}.`, value);
    } else {
      parts.push(key, String(value));
    }
  }
}

/** An item of a list as text: of an object its fields, sorted by name. */
function canonical(item: unknown): string {
  if (typeof item !== "object" || item === null) return String(item);
  const entries = Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.map(([name, value]) => `${name}=${String(value)}`).join("\n");
}
