/**
 * The strict reconfiguration check: would the cluster still have a working quorum after this change?
 *
 * Pure; admission.ts asks it. The accidents it prevents are those of etcd#6420 and etcd#3477, the repairs it must not block
 * those of etcd#10114 and etcd#16798.
 */
import type { NodeId } from "../../raft/index";

/** A voter as the check sees it. */
export interface VoterHealth {
  readonly id: NodeId;
  readonly name: string;
  readonly started: boolean;
  /** Ticks in contact without a break; null when not in contact. Infinity for the leader itself. */
  readonly inContactTicks: number | null;
}

export type QuorumVerdict =
  | { readonly kind: "ok" }
  /** Only time is missing: with these voters still in contact then, the check passes after `ticks`. */
  | { readonly kind: "wait"; readonly ticks: number; readonly blocking: readonly VoterHealth[] }
  | { readonly kind: "not-started"; readonly needed: number; readonly blocking: readonly VoterHealth[] }
  | { readonly kind: "unhealthy"; readonly needed: number; readonly blocking: readonly VoterHealth[] };

/**
 * @param voters those of the present voters that vote after the change
 * @param sizeAfter the number of voters after the change
 * @param contactTicks how long a voter must have been in contact to count
 */
export function checkQuorumAfter(
  voters: readonly VoterHealth[],
  sizeAfter: number,
  contactTicks: number,
): QuorumVerdict {
  const needed = Math.floor(sizeAfter / 2) + 1;
  const notStarted = voters.filter((voter) => !voter.started);
  if (voters.length - notStarted.length < needed)
    return { kind: "not-started", needed, blocking: notStarted };

  const missing = voters.map((voter) => ({
    voter,
    ticks: voter.inContactTicks === null ? Infinity : Math.max(0, contactTicks - voter.inContactTicks),
  }));
  missing.sort((a, b) => a.ticks - b.ticks);
  const last = missing[needed - 1];
  if (last === undefined || last.ticks === Infinity) {
    return { kind: "unhealthy", needed, blocking: voters.filter((voter) => voter.inContactTicks === null) };
  }
  if (last.ticks === 0) return { kind: "ok" };
  return {
    kind: "wait",
    ticks: last.ticks,
    blocking: missing.filter((entry) => entry.ticks > 0).map((entry) => entry.voter),
  };
}
