/** The messages of a watch as lines for people: one for each event. */
import type { Member } from "../client";
import { MemberEventKind } from "../generated/muster/v1/membership_service";
import type { MemberEvent, WatchMembersResponse } from "../generated/muster/v1/membership_service";
import { nameOf, printable, roleName } from "./output";

const VERBS: ReadonlyMap<MemberEventKind, string> = new Map([
  [MemberEventKind.ADDED, "added"],
  [MemberEventKind.UPDATED, "updated"],
  [MemberEventKind.PROMOTED, "promoted"],
  [MemberEventKind.DEMOTED, "demoted"],
  [MemberEventKind.REMOVED, "removed"],
]);

export class EventLines {
  /** The members as far as they were shown, so that a leader has a name. */
  private readonly members = new Map<string, Member>();

  of({ header, part }: WatchMembersResponse): string {
    const revision = String(header?.revision ?? 0n);
    switch (part?.$case) {
      case "roster": {
        this.members.clear();
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
    const { revision, kind, member, previous, time, caller, note } = event;
    const shown = member ?? previous;
    if (member !== undefined) this.members.set(member.id, member);
    else if (previous !== undefined) this.members.delete(previous.id);
    const who = shown === undefined ? "a member" : nameOf([shown], shown.id);
    const when = time === undefined ? "" : `  ${new Date(milliseconds(time)).toISOString()}`;
    const by = caller === "" ? "" : `, by ${printable(caller)}`;
    const why = note === "" ? "" : `: ${printable(note)}`;
    const text = `${VERBS.get(kind) ?? "changed"} ${who}${details(member, previous)}${by}${why}`;
    return `${String(revision)}${when}  ${text}`;
  }

  private name(id: string): string {
    return nameOf([...this.members.values()], id);
  }
}

function milliseconds({ seconds, nanos }: { readonly seconds: bigint; readonly nanos: number }): number {
  return Number(seconds) * 1000 + Math.floor(nanos / 1_000_000);
}

/** What is new about the member; for one that is new, what it is. */
function details(member: Member | undefined, previous: Member | undefined): string {
  if (member === undefined) return "";
  if (previous === undefined) return ` ${roleName(member.role)} ${printable(member.peerUrls.join(","))}`;
  const changes = [
    changed("role", roleName(previous.role), roleName(member.role)),
    changed("peer URL", previous.peerUrls.join(","), member.peerUrls.join(",")),
    changed("admin URL", previous.adminUrls.join(","), member.adminUrls.join(",")),
    previous.started || !member.started ? "" : "started",
  ].filter((change) => change !== "");
  return changes.length === 0 ? "" : ` ${changes.join(", ")}`;
}

function changed(what: string, before: string, after: string): string {
  return before === after
    ? ""
    : `${what} ${printable(before === "" ? "none" : before)} -> ${printable(after)}`;
}
