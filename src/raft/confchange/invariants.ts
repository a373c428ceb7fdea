/**
 * Invariants of configurations, checked on every result of a change. A violation comes from an invalid saved
 * configuration (for instance in a peer's snapshot), never from a change of a valid one.
 */
import type { Progress, TrackerConfig } from "../tracker";
import type { NodeId } from "../types";

/** The first invariant of TrackerConfig or ProgressTracker that does not hold, or null. */
export function findViolation(config: TrackerConfig, progress: ReadonlyMap<NodeId, Progress>): string | null {
  const { voters, learners, learnersNext } = config;
  for (const id of [...voters.ids(), ...learners, ...learnersNext]) {
    if (!progress.has(id)) return `no progress for ${id}`;
  }
  for (const id of progress.keys()) {
    if (!voters.has(id) && !learners.has(id)) return `progress for ${id}, which is not a member`;
  }
  for (const id of learnersNext) {
    if (!voters.outgoing.has(id)) return `${id} is in learnersNext, but is no outgoing voter`;
    if (progress.get(id)?.isLearner === true)
      return `${id} is in learnersNext, but is marked as learner already`;
  }
  for (const id of learners) {
    if (voters.has(id)) return `${id} is both learner and voter`;
    if (progress.get(id)?.isLearner !== true) return `${id} is a learner, but is not marked as one`;
  }
  for (const id of voters.ids()) {
    if (progress.get(id)?.isLearner === true) return `${id} is a voter, but is marked as learner`;
  }
  if (!voters.isJoint) {
    if (learnersNext.size > 0) return "learnersNext in a config that is not joint";
    if (config.autoLeave) return "autoleave in a config that is not joint";
  }
  return null;
}
