/**
 * What the leader does by itself: it says so, and nothing else does; the number of voters never falls by it; it does what
 * the roster, at the entry's place in the log, still asks for; and it takes nobody's vote who was heard of a while ago.
 *
 * The contacts are recorded here from the batches that the network delivered, independently of the product's own record.
 */
import { MemberTarget, decodeCommand } from "../../../src/roster/index";
import type {
  ApplyResult,
  ClusterSettings,
  MemberRecord,
  Roster,
  RosterCommand,
} from "../../../src/roster/index";
import { Role } from "../../../src/raft/index";
import type { ConfChange, Entry, Message, NodeId } from "../../../src/raft/index";
import { insideOf } from "../checkers";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside, RosterBefore } from "../observer";
import { Violation } from "../violation";
import { isAnswer } from "./reconfiguration_keeps_quorum";

const NAME = "steward";
const STEWARD = "steward";
/** A member is out of contact an election timeout after its last message; it may still be under way for a tick. */
const SLACK_TICKS = 1;

interface Leading {
  readonly term: number;
  readonly sinceTick: number;
  readonly heardTick: Map<NodeId, number>;
}

type ById = ReadonlyMap<NodeId, MemberRecord>;

export class StewardActs implements Observer {
  private readonly leading = new WeakMap<Member, Leading>();

  step(member: Member, raft: RaftInside, before: MemberState): void {
    if (raft.role !== Role.Leader || (before.role === Role.Leader && before.term === raft.term)) return;
    const sinceTick = member.replica.ticks;
    this.leading.set(member, { term: raft.term, sinceTick, heardTick: new Map() });
  }

  received(member: Member, from: NodeId, batch: readonly Message[]): void {
    const leading = this.leading.get(member);
    if (leading === undefined) return;
    if (!batch.some((message) => message.term === leading.term && isAnswer(message))) return;
    leading.heardTick.set(from, member.replica.ticks);
  }

  changeProposed(member: Member, { context }: ConfChange): void {
    const command = decodeCommand(context);
    const isOwn = command.requestId === "";
    if (isOwn !== (command.caller === STEWARD))
      throw new Violation(NAME, `${member.label} proposes a change of "${command.caller}" as its own`);
    if (!isOwn || command.body?.$case !== "changeMembers") return;
    for (const { id } of command.body.value.standBy) this.checkAway(member, id);
  }

  /** The voter whose place is taken was not heard of by this leader for as long as the settings say. */
  private checkAway(member: Member, id: NodeId): void {
    const { ticks, electionTicks, roster } = member.replica;
    const leading = this.leading.get(member);
    if (leading?.term !== insideOf(member).term) return;
    const afterMs = roster.settings.standbyTakeoverAfterMs;
    const { heartbeatMs } = member.world.profile;
    const awayTicks = ticks - (leading.heardTick.get(id) ?? leading.sinceTick);
    const heard = leading.heardTick.has(id);
    if (afterMs > 0 && awayTicks + SLACK_TICKS >= afterMs / heartbeatMs + (heard ? electionTicks : 0)) return;
    const text = `${member.label} gives the place of ${hex(id)} away, heard of ${awayTicks} ticks ago`;
    throw new Violation(NAME, text);
  }

  applied(
    member: Member,
    { index }: Entry,
    result: ApplyResult,
    roster: Roster,
    { members, settings }: RosterBefore,
  ): void {
    if (result.kind !== "command" || result.command.caller !== STEWARD) return;
    const { decision, command } = result;
    if (!decision.accepted || !decision.changed) return;
    const before = byId(members);
    const after = byId(roster.members());
    const problem = problemOf(command, before, after, settings) ?? votersLost(before, after);
    if (problem !== null) throw new Violation(NAME, `${member.label} applies at ${index}: ${problem}`);
  }
}

/** A replacement that votes already leaves the number as it was before it was made a voter. */
function votersLost(before: ById, after: ById): string | null {
  const doubled = [...before.values()].filter(({ learner, replaces }) => {
    const old = before.get(replaces);
    return !learner && old?.learner === false && !after.has(replaces);
  }).length;
  const lost = votersOf(before) - doubled - votersOf(after);
  return lost > 0 ? `what the leader does by itself takes ${lost} voters away` : null;
}

/** What is wrong with a change of the leader's own, by the roster before it. */
function problemOf(
  { body }: RosterCommand,
  before: ById,
  after: ById,
  settings: ClusterSettings,
): string | null {
  switch (body?.$case) {
    case "promoteMember": {
      const promoted = before.get(body.value.member?.id ?? 0n);
      if (!settings.autoPromote) return "a learner is promoted, and none is to be";
      if (promoted?.target === MemberTarget.UNSPECIFIED && promoted.replaces === 0n) return null;
      return `${promoted?.name ?? "nobody"} is promoted, and is not to be`;
    }
    case "removeMember": {
      const removed = before.get(body.value.member?.id ?? 0n);
      if (settings.removeUnstartedAfterMs === 0)
        return "a member that never started is removed, and none is to be";
      if (removed?.started === false && removed.learner) return null;
      return `${removed?.name ?? "nobody"} is removed, and has started`;
    }
    case "changeMembers": {
      const { standBy, promote, remove } = body.value;
      if (standBy.length === 0) return replacementProblem(promote, remove, before, after);
      const swapped = standBy.every(({ id }) => {
        const now = after.get(id);
        return (
          before.get(id)?.learner === false && now?.learner === true && now.target === MemberTarget.STANDBY
        );
      });
      const isStandby = promote.every(({ id }) => before.get(id)?.target === MemberTarget.STANDBY);
      if (settings.standbyTakeoverAfterMs === 0) return "a standby takes over, and none is to";
      return swapped && isStandby
        ? null
        : "a standby takes over, and the voter is none, or no standby was promoted";
    }
    default:
      return "a change that no leader makes by itself";
  }
}

/** One member takes the place of the one that it replaces. */
function replacementProblem(
  promote: readonly { readonly id: bigint }[],
  remove: readonly { readonly id: bigint }[],
  before: ById,
  after: ById,
): string | null {
  const replacements = [...before.values()].filter(({ replaces }) =>
    remove.some(({ id }) => id === replaces),
  );
  const isOwn = promote.every(({ id }) => replacements.some((member) => member.id === id));
  if (replacements.length !== 1 || remove.length !== 1 || !isOwn)
    return "a replacement of a member that nobody replaces";
  const [replacement] = replacements;
  const now = after.get(replacement?.id ?? 0n);
  return now?.replaces === 0n ? null : "a replacement that goes on after it was finished";
}

function byId(members: readonly MemberRecord[]): ById {
  return new Map(members.map((member) => [member.id, member]));
}

function votersOf(members: ById): number {
  return [...members.values()].filter(({ learner }) => !learner).length;
}

function hex(id: NodeId): string {
  return id.toString(16).slice(0, 4);
}
