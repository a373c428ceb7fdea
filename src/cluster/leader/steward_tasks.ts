/**
 * What the leader would do by itself now, in the order in which it would: finish replacements, promote learners, put a
 * standby in the place of a dead voter, remove members that never started. Pure: the roster and the leader's view decide.
 *
 * Invariants: no task lowers the number of voters, except back to what it was before a replacement was promoted by hand; a
 * task says what it has seen of the members that it is about and of the settings that ask for it, and is refused once they
 * are otherwise.
 */
import type { NodeId } from "../../raft/index";
import {
  MemberTarget,
  changeMembersCommand,
  featureNotReady,
  promoteMemberCommand,
  removeMemberCommand,
} from "../../roster/index";
import type { CommandEnvelope, MemberRecord, RosterCommand } from "../../roster/index";
import type { CheckView } from "./change_check";
import { readinessOf } from "./readiness";

/** What the leader has seen of members over time. */
export interface Observed {
  /** For how many ticks this leader has not been in contact with the member; 0 when it is. */
  outOfContactTicks(id: NodeId): number;
  /** For how many ticks this leader has known the member as one that has neither started nor been in contact. */
  unstartedTicks(id: NodeId): number;
}

/** One change that the leader may make. */
export interface StewardTask {
  /** The member that it is about; with `kind` it identifies the task. */
  readonly member: MemberRecord;
  /** See Submission. */
  readonly seen: readonly MemberRecord[];
  /** See Submission. */
  readonly holds?: () => boolean;
  readonly kind: "replacement" | "promotion" | "takeover" | "removal";
  /** What was done, for the log. */
  readonly done: string;
  command(envelope: CommandEnvelope): RosterCommand;
}

type TaskView = Pick<CheckView, "roster" | "voters" | "learners" | "electionTicks" | "heartbeatMs" | "self">;

export function* stewardTasks(seen: TaskView, observed: Observed): Generator<StewardTask, undefined> {
  const { roster, voters, learners, electionTicks, heartbeatMs, self } = seen;
  // Read once: the view of the leader puts these lists together each time.
  const view = { roster, voters, learners, electionTicks, heartbeatMs, self };
  yield* replacements(view);
  if (view.roster.settings.autoPromote) yield* promotions(view);
  yield* takeovers(view, observed);
  yield* removals(view, observed);
}

/** The new member is ready: what the old one is by now it becomes, and the old one goes. Its target it takes over in apply. */
function* replacements(view: TaskView): Generator<StewardTask, undefined> {
  const { roster } = view;
  for (const member of oldestFirst(roster.members())) {
    const old = member.replaces === 0n ? null : roster.member(member.replaces);
    if (old === null || !isReady(member, view)) continue;
    const promote = member.learner && !old.learner ? [named(member)] : [];
    yield {
      member,
      kind: "replacement",
      done: `the replacement was ready: ${member.name} has taken the place of ${old.name}`,
      seen: [member, old],
      command: (envelope) => changeMembersCommand(envelope, { promote, demote: [], remove: [named(old)] }),
    };
  }
}

/** One that has not started can't be ready. */
function* promotions(view: TaskView): Generator<StewardTask, undefined> {
  const settingsRevision = settingsRevisionOf(view);
  for (const member of oldestFirst(view.roster.members())) {
    const { learner, target, replaces } = member;
    if (!learner || target !== MemberTarget.UNSPECIFIED || replaces !== 0n || !isReady(member, view))
      continue;
    yield {
      member,
      kind: "promotion",
      done: "the learner was ready: it is a voter now",
      seen: [member],
      command: (envelope) =>
        promoteMemberCommand({ ...envelope, settingsRevision }, { member: named(member) }),
    };
  }
}

function* takeovers(view: TaskView, observed: Observed): Generator<StewardTask, undefined> {
  const { roster, heartbeatMs, learners } = view;
  const afterTicks = ticksOf(roster.settings.standbyTakeoverAfterMs, heartbeatMs);
  if (afterTicks === 0) return;
  const lag = (id: NodeId): number => learners.find((learner) => learner.id === id)?.lagEntries ?? Infinity;
  const standbys = roster
    .members()
    .filter((member) => member.learner && member.target === MemberTarget.STANDBY && isReady(member, view))
    .sort((a, b) => lag(a.id) - lag(b.id));
  const [standby] = standbys;
  if (standby === undefined) return;
  for (const voter of roster.members()) {
    const away = voter.learner || voter.id === view.self ? 0 : observed.outOfContactTicks(voter.id);
    if (away < afterTicks) continue;
    const note = `${voter.name} was out of contact for ${String(Math.floor((away * heartbeatMs) / 1000))} s`;
    yield {
      member: voter,
      kind: "takeover",
      done: `${note}: ${standby.name} votes in its place, and it is a standby now`,
      seen: [standby, voter],
      // It may come back, and leave again, while the change waits behind others.
      holds: () => observed.outOfContactTicks(voter.id) >= afterTicks,
      command: (envelope) =>
        changeMembersCommand(
          { ...envelope, note, settingsRevision: settingsRevisionOf(view) },
          { promote: [named(standby)], demote: [], remove: [], standBy: [named(voter)] },
        ),
    };
  }
}

/** Learners only: to remove a voter would lower the number of voters. */
function* removals(view: TaskView, observed: Observed): Generator<StewardTask, undefined> {
  const { roster, heartbeatMs } = view;
  const afterTicks = ticksOf(roster.settings.removeUnstartedAfterMs, heartbeatMs);
  if (afterTicks === 0) return;
  for (const member of oldestFirst(roster.members())) {
    if (!member.learner || member.started || observed.unstartedTicks(member.id) < afterTicks) continue;
    const note = "it never started";
    yield {
      member,
      kind: "removal",
      done: "the member was added and never started: it is removed",
      seen: [member],
      holds: () => observed.unstartedTicks(member.id) >= afterTicks,
      // A publish may be on its way, which is no membership change: under constant writes this waits for a pause.
      command: (envelope) =>
        removeMemberCommand(
          { ...envelope, note, expectedRevision: roster.revision },
          { member: named(member), peerUrl: "" },
        ),
    };
  }
}

/** A member of an older version would not look at it, and needs not: no settings can be changed before it runs this one. */
function settingsRevisionOf({ roster }: TaskView): number | undefined {
  const { settings } = roster;
  return featureNotReady(roster.members(), "settings") === null ? settings.updateRevision : undefined;
}

/** Whether it could vote from now on; of a voter, whether it is healthy. */
function isReady(member: MemberRecord, { learners, voters, electionTicks }: TaskView): boolean {
  const learner = learners.find(({ id }) => id === member.id);
  if (learner !== undefined) return readinessOf(learner, electionTicks).ready;
  const ticks = voters.find(({ id }) => id === member.id)?.inContactTicks ?? null;
  return member.started && ticks !== null && ticks >= 2 * electionTicks;
}

function oldestFirst(members: readonly MemberRecord[]): MemberRecord[] {
  return [...members].sort((a, b) => a.createRevision - b.createRevision);
}

function named({ id }: MemberRecord): { readonly id: bigint; readonly name: string } {
  return { id, name: "" };
}

function ticksOf(ms: number, heartbeatMs: number): number {
  return Math.ceil(ms / heartbeatMs);
}
