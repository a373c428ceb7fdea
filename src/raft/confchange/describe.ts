/**
 * Properties of a configuration change that do not depend on the active configuration.
 */
import { ConfChangeTransition, ConfChangeType } from "../types";
import type { ConfChange, ConfChangeSingle } from "../types";

/** Whether a change passes through a joint configuration, and how that is left. */
interface JointMode {
  readonly joint: boolean;
  /** Whether the leader leaves the joint configuration automatically. False unless joint. */
  readonly autoLeave: boolean;
}

/** Whether the change leaves a joint configuration: it has no steps, and the transition Auto. */
export function leaveJointChange(change: ConfChange): boolean {
  return change.transition === ConfChangeTransition.Auto && change.changes.length === 0;
}

/**
 * A change with more than one step, or with another transition than Auto, is joint. All but JointExplicit leave
 * automatically.
 */
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

/** As the conformance scripts print it: "v1 l2 r3 u4". */
export function describeChanges(changes: readonly ConfChangeSingle[]): string {
  return changes.map((change) => `${LETTER[change.type]}${change.nodeId}`).join(" ");
}
