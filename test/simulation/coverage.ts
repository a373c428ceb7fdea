/**
 * Counts how often a run reached each fault and each rare state. When a row stays at zero over many seeds, the simulation
 * proves nothing about that state.
 */
import { INTERRUPTED_ROWS } from "./interrupted";

export const COVERAGE_ROWS = [
  // Faults of the network
  "message lost",
  "message repeated",
  "message reordered",
  "partition",
  "partition: one way",
  "partition: ring",
  "partition: bridge",
  "slow link",
  "request arrives late",
  // Faults of clocks
  "clock skew",
  "clock jump",
  "wall clock set back",
  "pause",
  // Faults of disks
  "power loss",
  "power loss that lost writes",
  "process killed",
  "aimed crash",
  "aimed isolation",
  "aimed partition",
  "joint configuration split",
  "leader interrupted in a change",
  "power lost after a change was applied",
  "removed member cut off",
  "leader cut off until it is overtaken",
  "overtaken leader back without its successor",
  "answers that come late",
  "crash in recovery",
  "torn tail cut",
  "sync error",
  "sync error that the page cache forgets",
  "write error",
  "disk full",
  "no file descriptor left",
  "meeting not written",
  "full leader handed over",
  "slow disk",
  "bit flip",
  "bit flip refused at the start",
  // Members
  "graceful stop",
  "restart",
  "member wiped",
  "wiped beside members that are behind",
  "founder starts late",
  "copy of a directory started",
  "copy met by members that restarted",
  "copy of a directory refused",
  "host moved",
  "every host moved",
  "second address used",
  "roster follows a member that moved",
  "founder wiped at birth",
  "founder wiped at birth beside members that are behind",
  "founder wiped at any time",
  "wiped member refused",
  "older copy put back",
  "copy of an earlier start put back",
  "older copy noticed by the leader",
  "stale member refuses others",
  "heartbeats in leaping terms",
  "append with other bytes",
  "roster that differs",
  "diverged member ended",
  "removed member stays for its vote",
  "removed member ended",
  "member marked as removed",
  // Membership
  "member added",
  "learner added",
  "standby added",
  "member added that never starts",
  "learner promoted",
  "learner promoted by the leader",
  "promotion refused, not ready",
  "member removed",
  "leader removed",
  "unstarted member removed by the leader",
  "several members changed",
  "several members changed, the leader too",
  "replacement begun",
  "replacement cancelled",
  "replacement finished by the leader",
  "member replaced in place",
  "replacement in place refused, in contact",
  "member replaced in place started",
  "joined under the id that was replaced",
  "settings changed",
  "settings changed against the leader",
  "standby took over",
  "peer URL updated",
  "dead peer URL refused",
  "peer URL of another member refused",
  "peer URL that leads astray accepted",
  "peer URL put right",
  "joiner added at another URL",
  "membership change refused",
  "joint configuration",
  "leader change while joint",
  "joint configuration left",
  "first vote of a promoted learner",
  "cluster of one",
  // Operations on members that were interrupted
  ...INTERRUPTED_ROWS,
  // Watches
  "watch begun with the roster",
  "watch resumed",
  "watch resumed at another member",
  "watch resumed ahead of its member",
  "watch that catches up",
  "watch that the history passed",
  "watch event",
  "watch told of a leader",
  // Raft
  "leader elected",
  "PreVote lost",
  "candidate lost its election",
  "leader stepped down",
  "transfer asked for",
  "transfer done",
  "transfer aborted",
  "successor died in the handover",
  "leadership comes back",
  "tail replaced",
  "append rejected",
  "entry of an older term committed with an own one",
  "snapshot taken",
  "snapshot in flight",
  "snapshot lost",
  "snapshot installed",
  "restart from a snapshot",
  // Clients
  "write answered",
  "write refused",
  "turned away, too many wait",
  "write of unknown outcome",
  "repeat answered from memory",
  "refusal logged for a late attempt",
  "late attempt of a refused write",
  "outcome forgotten",
  "no room for an outcome",
  "write without a request id",
  "late attempt of a forgotten write",
  "write forwarded",
  "write proposed again",
  "linearizable read",
  "linearizable read at a learner",
  "linearizable read refused",
  "serializable read",
  "GetCluster",
  "validate_only",
  "expected_revision mismatch",
  "TransferLeadership answered",
  "TransferLeadership failed",
  "call at a member that was killed",
  // The product's own parts around the core
  "product: first start, bootstrapped",
  "product: first start, joined",
  "product: start refused",
  "product: published",
  "product: peer judged by its handshake",
  "product: admission let a write in",
  "product: admission turned away",
  "product: admission or apply refused",
  "product: client repeated a call",
  // Ends
  "liveness checked",
  "ended without a quorum",
] as const;

export type CoverageRow = (typeof COVERAGE_ROWS)[number];

export class Coverage {
  private readonly counts = new Map<CoverageRow, number>();

  add(row: CoverageRow): void {
    this.counts.set(row, (this.counts.get(row) ?? 0) + 1);
  }

  of(row: CoverageRow): number {
    return this.counts.get(row) ?? 0;
  }

  /** In the order of COVERAGE_ROWS. */
  all(): number[] {
    return COVERAGE_ROWS.map((row) => this.of(row));
  }
}

/** The counts as text in two columns, with rows at zero marked. */
export function coverageTable(counts: readonly number[]): string {
  const width = Math.max(...COVERAGE_ROWS.map((row) => row.length));
  return COVERAGE_ROWS.map((row, i) => {
    const count = counts[i] ?? 0;
    return `${row.padEnd(width)}  ${String(count).padStart(10)}${count === 0 ? "  <- never" : ""}`;
  }).join("\n");
}
