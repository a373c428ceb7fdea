/**
 * Counts at which step operations on members were interrupted: the leader that began one was lost while it was in its log
 * only, in the joint configuration, or while a replacement or a learner waited; and another leader brought it to its end.
 */
import { MemberTarget, commandOf } from "../../src/roster/index";
import type { ApplyResult, MemberRecord, Roster, RosterCommand } from "../../src/roster/index";
import { Role } from "../../src/raft/index";
import type { Entry } from "../../src/raft/index";
import type { AppendBatch } from "../../src/storage/storage";
import type { Member } from "./member";
import type { MemberState, Observer, RaftInside, RosterBefore } from "./observer";
import type { World } from "./world";

const OPERATIONS = [
  "add",
  "promotion",
  "removal",
  "URL",
  "change of several",
  "replacement side by side",
  "replacement in place",
  "replacement's end",
  "takeover",
  "settings",
] as const;
type OperationKind = (typeof OPERATIONS)[number];
const JOINT = ["change of several", "replacement in place", "replacement's end", "takeover"] as const;
const WAITING = ["add", "replacement side by side", "replacement in place"] as const;

export const INTERRUPTED_ROWS = [
  ...OPERATIONS.map((kind) => `leader lost: ${kind}, in its log` as const),
  ...JOINT.map((kind) => `leader lost: ${kind}, joint` as const),
  ...WAITING.map((kind) => `leader lost: ${kind}, waiting for the learner` as const),
  ...OPERATIONS.map((kind) => `by the next leader: ${kind}` as const),
  "restart in a joint configuration",
] as const;

interface Proposed {
  readonly index: number;
  readonly term: number;
  readonly kind: OperationKind;
}

export class Interrupted implements Observer {
  /** The last operation that each leader put into its log. */
  private readonly proposed = new WeakMap<Member, Proposed>();
  /** The operation by which the newest configuration came about. */
  private last: OperationKind | null = null;
  private newest = 0;
  /** Ids of members that took a place over and are learners. */
  private readonly inPlace = new Set<bigint>();

  /** Machines whose process ended in a joint configuration. */
  private readonly endedJoint = new Set<number>();

  constructor(private readonly world: World) {}

  started({ host, world }: Member): void {
    const isJoint = (world.checkers.record.config?.votersOutgoing.length ?? 0) > 0;
    if (this.endedJoint.delete(host.number) && isJoint)
      world.coverage.add("restart in a joint configuration");
  }

  appended(member: Member, { entries }: AppendBatch): void {
    if (!member.replica.isLeader) return;
    for (const entry of entries) {
      const kind = entry.term === member.replica.term ? kindOf(commandOf(entry)) : null;
      if (kind !== null) this.proposed.set(member, { index: entry.index, term: entry.term, kind });
    }
  }

  applied(
    member: Member,
    { index, term }: Entry,
    result: ApplyResult,
    roster: Roster,
    before: RosterBefore,
  ): void {
    if (index <= this.newest) return;
    this.newest = index;
    if (result.kind !== "command" || !result.decision.accepted || !result.decision.changed) return;
    const kind = kindOf(result.command);
    this.follow(roster, before, kind);
    if (kind === null) return;
    if (result.confChange !== null) this.last = kind;
    if (member.replica.isLeader && member.replica.term > term)
      this.world.coverage.add(`by the next leader: ${kind}`);
  }

  /** Members that were added in place of another, until they vote. */
  private follow(roster: Roster, before: RosterBefore, kind: OperationKind | null): void {
    for (const id of this.inPlace) {
      const member = roster.member(id);
      if (member?.started === true && !before.members.some((other) => other.id === id && other.started))
        this.world.coverage.add("member replaced in place started");
      if (member?.learner !== true) this.inPlace.delete(id);
    }
    if (kind !== "replacement in place") return;
    for (const { id } of roster.members())
      if (!before.members.some((member) => member.id === id)) this.inPlace.add(id);
  }

  step(member: Member, raft: RaftInside, before: MemberState): void {
    if (before.role === Role.Leader && raft.role !== Role.Leader) this.lost(member, raft);
  }

  ended(member: Member): void {
    const raft = member.replica["raw"].raft;
    if (raft.tracker.config.voters.outgoing.ids().length > 0) this.endedJoint.add(member.host.number);
    if (member.replica.isLeader) this.lost(member, raft);
  }

  private lost(member: Member, { log, tracker }: RaftInside): void {
    const { coverage } = this.world;
    const own = this.proposed.get(member);
    if (own !== undefined && own.index > log.committed) coverage.add(`leader lost: ${own.kind}, in its log`);
    const joint = JOINT.find((kind) => kind === this.last);
    if (joint !== undefined && tracker.config.voters.outgoing.ids().length > 0)
      coverage.add(`leader lost: ${joint}, joint`);
    for (const kind of this.waiting(member.replica.roster.members()))
      coverage.add(`leader lost: ${kind}, waiting for the learner`);
  }

  private waiting(members: readonly MemberRecord[]): ReadonlySet<(typeof WAITING)[number]> {
    const waiting = members.filter(({ learner, target }) => learner && target === MemberTarget.UNSPECIFIED);
    return new Set(
      waiting.map(({ id, replaces }) =>
        replaces !== 0n ? "replacement side by side" : this.inPlace.has(id) ? "replacement in place" : "add",
      ),
    );
  }
}

function kindOf(command: RosterCommand | null): OperationKind | null {
  const { body } = command ?? {};
  switch (body?.$case) {
    case "addMember":
      return "add";
    case "promoteMember":
      return "promotion";
    case "removeMember":
      return "removal";
    case "updateMember":
      return "URL";
    case "replaceMember":
      return body.value.sideBySide ? "replacement side by side" : "replacement in place";
    case "changeMembers":
      if (command?.requestId !== "") return "change of several";
      return body.value.standBy.length > 0 ? "takeover" : "replacement's end";
    case "updateSettings":
      return "settings";
    default:
      return null;
  }
}
