/**
 * What members of an older version do not know. A leader proposes a kind of command, and apply follows a rule, only once
 * every started member has published a version that knows it.
 *
 * Decided from the roster alone, so that every member decides the same at the same index. A member that has not started
 * does not count: it publishes before it counts for anything, and stops when it meets what it does not know. Pure.
 */
import { CommandKind } from "../generated/muster/storage/v1/command";
import type { MemberRecord } from "../generated/muster/storage/v1/snapshot";

type Version = readonly [major: number, minor: number, patch: number];

/** The first version that knows a kind of command. Kinds that are not listed are known to every version. */
const KIND_SINCE: ReadonlyMap<CommandKind, Version> = new Map<CommandKind, Version>([
  [CommandKind.REFUSE, [0, 2, 0]],
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
  const match = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})/.exec(version);
  if (match === null) return false;
  for (const [i, wanted] of since.entries()) {
    const given = Number(match[i + 1]);
    if (given !== wanted) return given > wanted;
  }
  return true;
}
