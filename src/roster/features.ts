/**
 * What members of an older version do not know. A leader proposes a kind of command, and apply follows a rule, only once
 * every started member has published a version that knows it.
 *
 * Decided from the roster alone, so that every member decides the same at the same index. A member that has not started
 * does not count: it publishes before it counts for anything, and stops when it meets what it does not know. Pure.
 */
import { CommandKind } from "../generated/muster/storage/v1/command";
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import type { MemberRecord } from "../generated/muster/storage/v1/snapshot";
import { MemberTarget } from "../generated/muster/v1/member";
import { formatId } from "./ids";
import { refused } from "./refusal";
import type { RefusedError } from "./refusal";

type Version = readonly [major: number, minor: number, patch: number];

/** The first version that knows a kind of command. Kinds that are not listed are known to every version. */
const KIND_SINCE: ReadonlyMap<CommandKind, Version> = new Map<CommandKind, Version>([
  [CommandKind.REFUSE, [0, 2, 0]],
  [CommandKind.CHANGE_MEMBERS, [0, 3, 0]],
  [CommandKind.UPDATE_SETTINGS, [0, 3, 0]],
]);

/** The first version that forgets outcomes by the request clock (requests.ts). */
const REQUEST_CLOCK_SINCE: Version = [0, 2, 0];

/** Whether every started member knows this kind of command. */
export function knowsKind(members: readonly MemberRecord[], kind: CommandKind): boolean {
  const since = KIND_SINCE.get(kind);
  return since === undefined || everyStartedKnows(members, since) === true;
}

/** Whether every started member forgets outcomes by the request clock; null while no member has started. */
export function knowsRequestClock(members: readonly MemberRecord[]): boolean | null {
  return everyStartedKnows(members, REQUEST_CLOCK_SINCE);
}

/** What callers may ask for only once every started member knows it, and the first version that does. */
const FEATURES = {
  target: { since: [0, 3, 0], text: "a target other than voter" },
  promote: { since: [0, 3, 0], text: "PromoteMember" },
  change: { since: [0, 3, 0], text: "ChangeMembers" },
  replace: { since: [0, 3, 0], text: "ReplaceMember" },
  settings: { since: [0, 3, 0], text: "UpdateClusterSettings" },
} as const satisfies Record<string, { readonly since: Version; readonly text: string }>;

export type Feature = keyof typeof FEATURES;

/**
 * The feature that a caller's command uses; null for one that every version knows. A leader's own promotion is not one: it
 * has no request id, so members of every version apply it to the same effect.
 */
export function featureOf({ body, requestId }: RosterCommand): Feature | null {
  if (body?.$case === "changeMembers") return "change";
  if (body?.$case === "updateSettings") return "settings";
  if (body?.$case === "replaceMember") return "replace";
  if (body?.$case === "promoteMember") return requestId === "" ? null : "promote";
  const isTarget = body?.$case === "addMember" && body.value.target !== MemberTarget.UNSPECIFIED;
  return isTarget ? "target" : null;
}

/** The features that every started member knows, by name. */
export function readyFeatures(members: readonly MemberRecord[]): string[] {
  return Object.entries(FEATURES).flatMap(([name, { since }]) =>
    everyStartedKnows(members, since) === true ? [name] : [],
  );
}

/** The oldest version that a started member published; empty while none has. What is no version is older than all. */
export function clusterVersion(members: readonly MemberRecord[]): string {
  let oldest: string | null = null;
  for (const { started, version } of members) {
    if (started && (oldest === null || !isAtLeast(version, versionOf(oldest) ?? [0, 0, 0]))) oldest = version;
  }
  return oldest ?? "";
}

/** The refusal FEATURE_NOT_READY, which names the started members that do not know the feature; null when all do. */
export function featureNotReady(members: readonly MemberRecord[], feature: Feature): RefusedError | null {
  const { since, text } = FEATURES[feature];
  const older = members.filter(({ started, version }) => started && !isAtLeast(version, since));
  if (older.length === 0) return null;
  const needed = since.join(".");
  const who = older.map(({ name, version }) => `${name} (${version})`).join(", ");
  const message = `${text} needs version ${needed} or later of every member, and ${who} ${older.length === 1 ? "runs" : "run"} an older one; upgrade first, then try again`;
  return refused("FEATURE_NOT_READY", message, {
    feature,
    needed_version: needed,
    names: older.map(({ name }) => name).join(","),
    ids: older.map(({ id }) => formatId(id)).join(","),
    versions: older.map(({ version }) => version).join(","),
  });
}

/** Null while no member has started: none has said what it knows. */
function everyStartedKnows(members: readonly MemberRecord[], since: Version): boolean | null {
  let some: true | null = null;
  for (const { started, version } of members) {
    if (!started) continue;
    if (!isAtLeast(version, since)) return false;
    some = true;
  }
  return some;
}

/** A pre-release counts as its release. What is no version counts as older than all. */
function isAtLeast(version: string, since: Version): boolean {
  const given = versionOf(version);
  if (given === null) return false;
  for (const [i, wanted] of since.entries()) {
    if (given[i] !== wanted) return (given[i] ?? 0) > wanted;
  }
  return true;
}

function versionOf(version: string): Version | null {
  const match = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})/.exec(version);
  return match === null ? null : [Number(match[1]), Number(match[2]), Number(match[3])];
}
