/** To whom a leader that is removed, or stops, hands its leadership. */
import type { NodeId } from "../../raft/index";
import type { ReplicaView } from "../../replica/view";

const NONE: ReadonlySet<NodeId> = new Set();

/**
 * The voter in contact that has most of the log, one with space on its disk before any without; null when there is none.
 *
 * @param except voters that were tried, and did not take the leadership
 */
export function bestSuccessor(replica: ReplicaView, except: ReadonlySet<NodeId> = NONE): NodeId | null {
  let best: { id: NodeId; match: number; hasSpace: boolean } | null = null;
  for (const [id, { match, isLearner }] of replica.status().progress) {
    if (
      except.has(id) ||
      id === replica.id ||
      isLearner ||
      replica.contacts.inContactTicks(id, replica.ticks) === null
    )
      continue;
    const hasSpace = !replica.disks.isFull(id);
    const isBetter = best === null || (hasSpace === best.hasSpace ? match > best.match : hasSpace);
    if (isBetter) best = { id, match, hasSpace };
  }
  return best?.id ?? null;
}
