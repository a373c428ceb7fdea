/**
 * Restores a configuration from a saved ConfState (restart, snapshot) by the same changes that a running group makes,
 * so that the same invariants hold.
 *
 * The outgoing voters are added one by one, as they were the voters before the joint configuration was entered; one
 * joint change then leads to the incoming half. The saved state may come from a peer: it is refused when the restored
 * configuration differs from it.
 */
import { ProgressTracker } from "../tracker";
import type { Progress, TrackerConfig } from "../tracker";
import { ConfChangeType, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, NO_NODE } from "../types";
import type { ConfChangeSingle, ConfState, NodeId } from "../types";
import { Changer } from "./changer";
import type { ChangeResult } from "./changer";

/**
 * The configuration that `saved` describes, with a fresh Progress per member.
 *
 * @param limits the tracker that the result is meant for; only its window sizes are used, it is not changed
 * @param lastIndex the last index of the log, as for Changer
 */
export function restore(limits: ProgressTracker, lastIndex: number, saved: ConfState): ChangeResult {
  const tracker = new ProgressTracker(limits.maxInflight, limits.maxInflightBytes);
  const incoming = [
    ...steps(ConfChangeType.AddVoter, saved.voters),
    ...steps(ConfChangeType.AddLearner, saved.learners),
    // Last, because a voter that is to become a learner must already be an outgoing voter.
    ...steps(ConfChangeType.AddLearner, saved.learnersNext),
  ];
  const joint = saved.votersOutgoing.length > 0;
  for (const step of joint ? steps(ConfChangeType.AddVoter, saved.votersOutgoing) : incoming) {
    const result = new Changer(tracker, lastIndex).simple([step]);
    if (!result.ok) return result;
    tracker.install(result.config, result.progress);
  }
  if (joint) {
    const removals = steps(ConfChangeType.Remove, saved.votersOutgoing);
    const result = new Changer(tracker, lastIndex).enterJoint(saved.autoLeave, [...removals, ...incoming]);
    if (!result.ok) return result;
    tracker.install(result.config, result.progress);
  }
  const difference = findDifference(tracker.config, saved);
  if (difference !== null) return { ok: false, error: difference };
  return { ok: true, config: tracker.config, progress: new Map<NodeId, Progress>(tracker.progress) };
}

function steps(type: ConfChangeType, ids: readonly NodeId[]): ConfChangeSingle[] {
  return ids.map((nodeId) => ({ type, nodeId }));
}

/** Why `saved` is not a configuration that a group could have reached, or null. */
function findDifference(config: TrackerConfig, saved: ConfState): string | null {
  const rebuilt = config.confState();
  const pairs = [
    ["voters", rebuilt.voters, saved.voters],
    ["learners", rebuilt.learners, saved.learners],
    ["outgoing voters", rebuilt.votersOutgoing, saved.votersOutgoing],
    ["next learners", rebuilt.learnersNext, saved.learnersNext],
  ] as const;
  for (const [what, got, wanted] of pairs) {
    const reserved = wanted.find(
      (id) => id === NO_NODE || id === LOCAL_APPEND_THREAD || id === LOCAL_APPLY_THREAD,
    );
    if (reserved !== undefined) return `reserved id ${reserved} among the ${what}`;
    const set = new Set(wanted);
    if (set.size !== wanted.length || got.length !== wanted.length || !got.every((id) => set.has(id))) {
      return `inconsistent ${what}: (${wanted.join(" ")}) restores to (${got.join(" ")})`;
    }
  }
  if (rebuilt.autoLeave !== saved.autoLeave) return "autoleave in a config that is not joint";
  return null;
}
