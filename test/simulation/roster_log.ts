/**
 * What the log did to the roster, step by step: computed from the rosters before and after each entry, where it is applied
 * for the first time, and independent of the events that the roster keeps itself.
 */
import { RosterEvent_Kind } from "../../src/generated/muster/storage/v1/snapshot";
import type { ClusterSettings, MemberRecord } from "../../src/generated/muster/storage/v1/snapshot";
import { MemberEvent, MemberEventKind } from "../../src/generated/muster/v1/membership_service";
import { Member as PublicMember } from "../../src/generated/muster/v1/member";
import type { Entry } from "../../src/raft/index";
import { toMember, toSettings } from "../../src/roster/index";
import { toTimestamp } from "../../src/roster/time";
import type { ApplyResult, Roster, RosterCommand } from "../../src/roster/index";
import type { Touch } from "./linearizability_roster";
import type { Member } from "./member";
import type { Observer, RosterBefore } from "./observer";

interface Step {
  readonly revision: number;
  /** The events of this revision as clients get them, encoded, in no order. */
  readonly events: ReadonlySet<string>;
  readonly members: readonly MemberRecord[];
}

export class RosterLog implements Observer {
  readonly touches: Touch[] = [];
  /** In order of revision. */
  private readonly steps: Step[] = [];
  /** The highest index that was applied. */
  private newest = 0;

  applied(
    _member: Member,
    { index }: Entry,
    result: ApplyResult,
    roster: Roster,
    before: RosterBefore,
  ): void {
    if (index <= this.newest) return;
    this.newest = index;
    if (result.kind !== "command") return;
    const { command } = result;
    const changes = changesOf(before, roster);
    if (changes.length === 0) return;
    const events = changes.map((change) => encoded(change, command, index));
    this.steps.push({ revision: index, events: new Set(events), members: roster.members() });
    for (const { kind, after } of changes) {
      if (kind === RosterEvent_Kind.UPDATED && after !== null && isOfRoles(command))
        this.touches.push({ name: after.name, revision: index });
    }
  }

  /** The first step after a revision; null when there is none. */
  after(revision: number): Step | null {
    return this.steps[this.positionAfter(revision)] ?? null;
  }

  /** The members at a revision, encoded; null when no step has it. */
  membersAt(revision: number): string | null {
    const step = this.steps[this.positionAfter(revision - 1)];
    return step?.revision === revision ? encodedMembers(step.members.map(toMember)) : null;
  }

  /** How many events came after the first revision and not after the second. */
  eventsBetween(after: number, upTo: number): number {
    let count = 0;
    for (let at = this.positionAfter(after); at < this.positionAfter(upTo); at++)
      count += this.steps[at]?.events.size ?? 0;
    return count;
  }

  private positionAfter(revision: number): number {
    let [low, high] = [0, this.steps.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.steps[middle]?.revision ?? Infinity) > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

export function encodedMembers(members: readonly PublicMember[]): string {
  return members.map((member) => hexOf(PublicMember.encode(member).finish())).join(" ");
}

/** An event of a watch as text, to be compared with those of the log. */
export function encodedEvent(event: MemberEvent): string {
  return hexOf(MemberEvent.encode(event).finish());
}

/** One change: of a member, or of the settings. */
interface Change {
  readonly kind: RosterEvent_Kind;
  readonly before: MemberRecord | null;
  readonly after: MemberRecord | null;
  readonly settings: { readonly before: ClusterSettings; readonly after: ClusterSettings } | null;
}

function changesOf(before: RosterBefore, roster: Roster): Change[] {
  const changes: Change[] = [];
  const earlier = new Map(before.members.map((member) => [member.id, member]));
  for (const after of roster.members()) {
    const was = earlier.get(after.id) ?? null;
    earlier.delete(after.id);
    if (was === after || (was !== null && isSame(was, after))) continue;
    changes.push({ kind: kindOf(was, after), before: was, after, settings: null });
  }
  for (const was of earlier.values())
    changes.push({ kind: RosterEvent_Kind.REMOVED, before: was, after: null, settings: null });
  if (roster.settings !== before.settings) {
    const settings = { before: before.settings, after: roster.settings };
    changes.push({ kind: RosterEvent_Kind.SETTINGS, before: null, after: null, settings });
  }
  return changes;
}

/** A start that is published again may change the boot id only, which is not public. */
function isSame(previous: MemberRecord, member: MemberRecord): boolean {
  return encodedMembers([toMember(previous)]) === encodedMembers([toMember(member)]);
}

function kindOf(previous: MemberRecord | null, { learner }: MemberRecord): RosterEvent_Kind {
  if (previous === null) return RosterEvent_Kind.ADDED;
  if (previous.learner === learner) return RosterEvent_Kind.UPDATED;
  return learner ? RosterEvent_Kind.DEMOTED : RosterEvent_Kind.PROMOTED;
}

/** Whether the command changes no more of a member that stays, and stays what it is, than its target and whom it replaces. */
function isOfRoles({ body }: RosterCommand): boolean {
  return body?.$case === "removeMember" || body?.$case === "replaceMember" || body?.$case === "changeMembers";
}

const KINDS: ReadonlyMap<RosterEvent_Kind, MemberEventKind> = new Map([
  [RosterEvent_Kind.ADDED, MemberEventKind.ADDED],
  [RosterEvent_Kind.UPDATED, MemberEventKind.UPDATED],
  [RosterEvent_Kind.PROMOTED, MemberEventKind.PROMOTED],
  [RosterEvent_Kind.DEMOTED, MemberEventKind.DEMOTED],
  [RosterEvent_Kind.REMOVED, MemberEventKind.REMOVED],
  [RosterEvent_Kind.SETTINGS, MemberEventKind.SETTINGS],
]);

/** The event as the public contract has it, encoded. */
function encoded(
  { kind, before, after, settings }: Change,
  command: RosterCommand,
  revision: number,
): string {
  const { body, caller, timeMs, note, requestId } = command;
  return encodedEvent({
    revision: BigInt(revision),
    kind: KINDS.get(kind) ?? MemberEventKind.UNSPECIFIED,
    member: after === null ? undefined : toMember(after),
    previous: before === null ? undefined : toMember(before),
    // The first members of a cluster have none.
    time: timeMs === 0 ? undefined : toTimestamp(timeMs),
    // What a member publishes it says of itself.
    caller: body?.$case === "publish" ? "member" : caller,
    note,
    requestId,
    settings: settings === null ? undefined : toSettings(settings.after),
    previousSettings: settings === null ? undefined : toSettings(settings.before),
  });
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
