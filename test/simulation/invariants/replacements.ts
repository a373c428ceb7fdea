/**
 * A member that is to replace another: it replaces a member that is there, no two replace the same one, and it goes on to
 * do so until the other one is gone or a caller gives it another role. A voter is to become nothing else.
 */
import { MemberTarget } from "../../../src/roster/index";
import type { ApplyResult, MemberRecord, Roster } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { Observer, RosterBefore } from "../observer";
import { Violation } from "../violation";

const NAME = "replacements";

export class Replacements implements Observer {
  applied(
    member: Member,
    { index }: Entry,
    result: ApplyResult,
    roster: Roster,
    { members: before }: RosterBefore,
  ): void {
    const members = roster.members();
    if (members === before) return;
    const problem =
      ofMembers(members, roster) ?? (result.kind === "command" ? ended(before, roster, result) : null);
    if (problem !== null) throw new Violation(NAME, `${member.label} at ${index}: ${problem}`);
  }
}

function ofMembers(members: readonly MemberRecord[], roster: Roster): string | null {
  const replaced = new Set<bigint>();
  for (const { name, replaces, learner, target } of members) {
    if (!learner && target !== MemberTarget.UNSPECIFIED) return `the voter ${name} has a target`;
    if (replaces === 0n) continue;
    if (roster.member(replaces) === null) return `${name} replaces a member that is gone`;
    if (replaced.has(replaces)) return `two members replace the same one`;
    replaced.add(replaces);
  }
  return null;
}

/** A replacement that ended, although the other member is there and nobody asked for another role. */
function ended(
  before: readonly MemberRecord[],
  roster: Roster,
  { command }: Extract<ApplyResult, { kind: "command" }>,
): string | null {
  const { body } = command;
  const demoted = body?.$case === "changeMembers" ? [...body.value.demote, ...body.value.standBy] : [];
  for (const { id, name, replaces } of before) {
    const now = replaces === 0n || roster.member(replaces) === null ? null : roster.member(id);
    if (now === null || now.replaces === replaces) continue;
    if (demoted.some((selector) => selector.id === id || selector.name === name)) continue;
    return `${name} does not replace ${replaces.toString(16)} any more, which is still there`;
  }
  return null;
}
