/**
 * A second way to find the committed index, straight from the definition: an index is committed when a majority has
 * acknowledged it or a later one. Independent of the core's algorithm.
 */
import { MAX_INDEX } from "../../../src/raft/quorum";
import type { MajorityConfig } from "../../../src/raft/quorum";
import type { NodeId } from "../../../src/raft/types";

export function naiveCommittedIndex(config: MajorityConfig, acked: ReadonlyMap<NodeId, number>): number {
  if (config.size === 0) return MAX_INDEX;
  let best = 0;
  for (const candidate of acked.values()) {
    const supporters = config.ids().filter((id) => (acked.get(id) ?? -1) >= candidate).length;
    if (supporters * 2 > config.size && candidate > best) best = candidate;
  }
  return best;
}
