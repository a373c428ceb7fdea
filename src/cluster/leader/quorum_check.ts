/**
 * The strict reconfiguration check: would the cluster still have a working quorum after this change, and could as many
 * voters fail then as before?
 *
 * Pure; change_check.ts asks it. The accidents it prevents are those of etcd#6420 and etcd#3477, the repairs it must not
 * block those of etcd#10114 and etcd#16798.
 */
import type { NodeId } from "../../raft/index";

/** A member as the check sees it. */
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

export function majorityOf(size: number): number {
  return Math.floor(size / 2) + 1;
}

/**
 * Whether a majority of the voters after a change is healthy: started, and in contact for long enough.
 *
 * @param voters those of the known members that vote after the change
 * @param sizeAfter the number of voters after the change
 * @param contactTicks how long a voter must have been in contact to count
 */
export function checkQuorumAfter(
  voters: readonly VoterHealth[],
  sizeAfter: number,
  contactTicks: number,
): QuorumVerdict {
  const needed = majorityOf(sizeAfter);
  const notStarted = voters.filter((voter) => !voter.started);
  if (voters.length - notStarted.length < needed)
    return { kind: "not-started", needed, blocking: notStarted };

  const missing = voters.map((voter) => ({
    voter,
    ticks:
      voter.inContactTicks === null || !voter.started
        ? Infinity
        : Math.max(0, contactTicks - voter.inContactTicks),
  }));
  missing.sort((a, b) => a.ticks - b.ticks);
  const last = missing[needed - 1];
  if (last === undefined || last.ticks === Infinity) {
    return { kind: "unhealthy", needed, blocking: voters.filter((voter) => !isAlive(voter)) };
  }
  if (last.ticks === 0) return { kind: "ok" };
  return {
    kind: "wait",
    ticks: last.ticks,
    blocking: missing.filter((entry) => entry.ticks > 0).map((entry) => entry.voter),
  };
}

/**
 * How many of the voters may fail now before the quorum is gone. One that is in contact counts at once: a change must
 * not cost the cluster a member that is just coming back.
 *
 * @param unknown voters of which nothing is known yet, and that count as alive: the change adds them to be started
 */
export function failuresTolerated(voters: readonly VoterHealth[], unknown = 0): number {
  const alive = voters.filter(isAlive).length + unknown;
  return alive - majorityOf(voters.length + unknown);
}

function isAlive({ started, inContactTicks }: VoterHealth): boolean {
  return started && inContactTicks !== null;
}
