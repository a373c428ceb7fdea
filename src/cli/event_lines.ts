/** The messages of a watch as lines for people: one for each event. */
import { MemberTarget } from "../client";
import type { Member } from "../client";
import { MemberEventKind } from "../generated/muster/v1/membership_service";
import type { MemberEvent, WatchMembersResponse } from "../generated/muster/v1/membership_service";
import { nameOf, nameOfTarget, printable, roleName } from "./output";
import { settingsDifference } from "./setting_list";

const VERBS: ReadonlyMap<MemberEventKind, string> = new Map([
  [MemberEventKind.ADDED, "added"],
  [MemberEventKind.UPDATED, "updated"],
  [MemberEventKind.PROMOTED, "promoted"],
  [MemberEventKind.DEMOTED, "demoted"],
  [MemberEventKind.REMOVED, "removed"],
]);

/** Targets of a new member that go without saying are left out. */
const IS_SAID: ReadonlySet<MemberTarget> = new Set([MemberTarget.LEARNER, MemberTarget.STANDBY]);

export class EventLines {
  /** The members as far as they were shown, also those of before: so that a leader, or who is replaced, has a name. */
  private readonly members = new Map<string, Member>();

  of({ header, part }: WatchMembersResponse): string {
    const revision = String(header?.revision ?? 0n);
    switch (part?.$case) {
      case "roster": {
        for (const member of part.value.members) this.members.set(member.id, member);
        const names = part.value.members.map(({ name }) => printable(name)).join(", ");
        return `${revision}  members: ${names === "" ? "none" : names}\n`;
      }
      case "events":
        return part.value.events.map((event) => `${this.event(event)}\n`).join("");
      case "leader": {
        const { leaderId } = part.value;
        return `${revision}  ${leaderId === "" ? "no leader" : `leader ${this.name(leaderId)}`}\n`;
      }
      case "progress":
        return `${revision}  no further change${part.value.hasLeader ? "" : "; no leader is known: this may be old"}\n`;
      case undefined:
        return `${revision}  something that this version of the command does not know\n`;
    }
  }

  private event(event: MemberEvent): string {
    const { revision, time, caller, note } = event;
    const when = time === undefined ? "" : `  ${new Date(wholeMs(time)).toISOString()}`;
    const by = caller === "" ? "" : `, by ${printable(caller)}`;
    const why = note === "" ? "" : `: ${printable(note)}`;
    return `${String(revision)}${when}  ${this.change(event)}${by}${why}`;
  }

  private change({ kind, member, previous, settings, previousSettings }: MemberEvent): string {
    if (settings !== undefined)
      return `changed the settings: ${settingsDifference(previousSettings, settings)}`;
    const shown = member ?? previous;
    if (shown !== undefined) this.members.set(shown.id, shown);
    const who = shown === undefined ? "a member" : nameOf([shown], shown.id);
    return `${VERBS.get(kind) ?? "changed"} ${who}${this.details(member, previous)}`;
  }

  /** What is new about the member; for one that is new, what it is. */
  private details(member: Member | undefined, previous: Member | undefined): string {
    if (member === undefined) return "";
    if (previous === undefined) {
      const what = ` ${roleName(member.role)} ${printable(member.peerUrls.join(","))}`;
      const target = IS_SAID.has(member.target) ? `, target ${nameOfTarget(member.target)}` : "";
      return `${what}${target}${member.replaces === "" ? "" : `, replaces ${this.name(member.replaces)}`}`;
    }
    const changes = [
      changed("role", roleName(previous.role), roleName(member.role)),
      changed("target", nameOfTarget(previous.target), nameOfTarget(member.target)),
      changed("peer URL", previous.peerUrls.join(","), member.peerUrls.join(",")),
      changed("admin URL", previous.adminUrls.join(","), member.adminUrls.join(",")),
      previous.started || !member.started ? "" : "started",
      changed("replaces", this.nameOrNothing(previous.replaces), this.nameOrNothing(member.replaces)),
    ].filter((change) => change !== "");
    return changes.length === 0 ? "" : ` ${changes.join(", ")}`;
  }

  private nameOrNothing(id: string): string {
    return id === "" ? "" : this.name(id);
  }

  private name(id: string): string {
    return nameOf([...this.members.values()], id);
  }
}

/** Whole milliseconds of a timestamp. */
function wholeMs({ seconds, nanos }: { readonly seconds: bigint; readonly nanos: number }): number {
  return Number(seconds) * 1000 + Math.floor(nanos / 1_000_000);
}

function changed(what: string, before: string, after: string): string {
  const shown = (value: string): string => (value === "" ? "none" : printable(value));
  return before === after ? "" : `${what} ${shown(before)} -> ${shown(after)}`;
}
