/**
 * What a membership change asks for, before it meets a configuration.
 */
import { ConfChangeTransition, ConfChangeType } from "../types";
import type { ConfChange, ConfChangeSingle } from "../types";

/** Whether a change passes through a joint configuration, and who leaves it. */
export interface JointMode {
  readonly joint: boolean;
  /** Whether the leader leaves the joint configuration on its own. False unless joint. */
  readonly autoLeave: boolean;
}

/** Whether the change leaves a joint configuration: it names nobody and asks for no transition. */
export function leaveJointChange(change: ConfChange): boolean {
  return change.transition === ConfChangeTransition.Auto && change.changes.length === 0;
}

/** More than one step, or a transition asked for, means joint; only JointExplicit leaves the leaving to others. */
export function enterJointMode(change: ConfChange): JointMode {
  if (change.transition === ConfChangeTransition.Auto && change.changes.length <= 1) {
    return { joint: false, autoLeave: false };
  }
  return { joint: true, autoLeave: change.transition !== ConfChangeTransition.JointExplicit };
}

const LETTER: Readonly<Record<ConfChangeType, string>> = {
  [ConfChangeType.AddVoter]: "v",
  [ConfChangeType.AddLearner]: "l",
  [ConfChangeType.Remove]: "r",
  [ConfChangeType.Update]: "u",
};

/** In the form of the suites: "v1 l2 r3 u4". */
export function describeChanges(changes: readonly ConfChangeSingle[]): string {
  return changes.map((change) => `${LETTER[change.type]}${change.nodeId}`).join(" ");
}
