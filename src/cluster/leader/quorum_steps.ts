/**
 * What a change does to the quorum, step by step, for an operator who asks before it is done (validate_only). Pure: reads the
 * command and what the leader sees of the voters.
 *
 * Voters that are out of contact now count as failed in every step. A member that the change adds counts from the step in
 * which it is promoted, since it is promoted only when it is ready. A change that leaves every vote as it is has no step.
 */
import { MemberTarget, selectorsOf } from "../../roster/index";
import type { MemberRecord, RosterCommand } from "../../roster/index";
import { leavingVoters, lookUp } from "./change_check";
import type { CheckView } from "./change_check";
import { failuresTolerated, majorityOf } from "./quorum_check";

/** As the message of the same name. */
export interface QuorumStep {
  readonly description: string;
  readonly voters: number;
  readonly quorumSize: number;
  readonly failuresTolerated: number;
}

type View = Pick<CheckView, "roster" | "voters">;

export function quorumSteps(command: RosterCommand, view: View): QuorumStep[] {
  return [step("now", view, [], 0), ...stepsOf(command, view)];
}

function stepsOf(command: RosterCommand, view: View): QuorumStep[] {
  const { body } = command;
  switch (body?.$case) {
    case "addMember": {
      const { name, learner, target } = body.value;
      const joins = step(`${name} joins as a learner`, view, [], 0);
      const votes = learner && target === MemberTarget.UNSPECIFIED && view.roster.settings.autoPromote;
      return votes ? [joins, step(`${name} votes`, view, [], 1)] : [joins];
    }
    case "removeMember":
      return [step(`${namesOf(command, view)} is removed`, view, leavingVoters(command, view), 0)];
    case "promoteMember":
      return [step(`${namesOf(command, view)} votes`, view, [], learnersAmong(selectorsOf(command), view))];
    case "replaceMember": {
      const { replacement, sideBySide } = body.value;
      const old = found(selectorsOf(command), view)[0];
      if (replacement === undefined || old === undefined) return [];
      return replacementSteps(replacement.name === "" ? old.name : replacement.name, old, sideBySide, view);
    }
    case "changeMembers": {
      const { promote } = body.value;
      const leaving = leavingVoters(command, view);
      return [step(described(body.value, view), view, leaving, learnersAmong(promote, view))];
    }
    default:
      return [];
  }
}

function replacementSteps(name: string, old: MemberRecord, sideBySide: boolean, view: View): QuorumStep[] {
  const leaving = old.learner ? [] : [old.id];
  const promoted = old.learner ? 0 : 1;
  if (sideBySide) {
    const becomes = old.learner ? `${name} is ready` : `${name} votes`;
    return [
      step(`${name} joins as a learner`, view, [], 0),
      step(`${becomes}, ${old.name} is removed`, view, leaving, promoted),
    ];
  }
  const removed = step(`the old ${old.name} is removed, the new one joins as a learner`, view, leaving, 0);
  const votes = !old.learner && view.roster.settings.autoPromote;
  return votes ? [removed, step(`the new ${name} votes`, view, leaving, 1)] : [removed];
}

/**
 * @param leaving voters that do not vote any more
 * @param promoted how many members vote that did not
 */
function step(
  description: string,
  { voters }: View,
  leaving: readonly bigint[],
  promoted: number,
): QuorumStep {
  const staying = voters.filter(({ id }) => !leaving.includes(id));
  const size = staying.length + promoted;
  const tolerated = Math.max(0, failuresTolerated(staying, promoted));
  return { description, voters: size, quorumSize: majorityOf(size), failuresTolerated: tolerated };
}

type Selectors = ReturnType<typeof selectorsOf>;

function found(selectors: Selectors, view: View): MemberRecord[] {
  return selectors.flatMap((selector) => lookUp(selector, view) ?? []);
}

function learnersAmong(selectors: Selectors, view: View): number {
  return found(selectors, view).filter(({ learner }) => learner).length;
}

function namesOf(command: RosterCommand, view: View): string {
  return listed(selectorsOf(command), view);
}

function listed(selectors: Selectors, view: View): string {
  return found(selectors, view)
    .map(({ name }) => name)
    .join(", ");
}

function described(
  change: { promote: Selectors; demote: Selectors; standBy: Selectors; remove: Selectors },
  view: View,
): string {
  const parts: [Selectors, string, string][] = [
    [change.promote, "votes", "vote"],
    [[...change.demote, ...change.standBy], "votes no more", "vote no more"],
    [change.remove, "is removed", "are removed"],
  ];
  return parts
    .filter(([selectors]) => selectors.length > 0)
    .map(([selectors, one, many]) => `${listed(selectors, view)} ${selectors.length === 1 ? one : many}`)
    .join("; ");
}
