/** To whom a leader that is removed, or stops, hands its leadership. */
import type { NodeId } from "../../raft/index";
import type { ReplicaView } from "../../replica/view";

/** The voter in contact that has most of the log; null when there is none. */
export function bestSuccessor(replica: ReplicaView): NodeId | null {
  let best: { id: NodeId; match: number } | null = null;
  for (const [id, { match, isLearner }] of replica.status().progress) {
    if (id === replica.id || isLearner || replica.contacts.inContactTicks(id, replica.ticks) === null)
      continue;
    if (best === null || match > best.match) best = { id, match };
  }
  return best?.id ?? null;
}
