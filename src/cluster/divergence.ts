/**
 * Members compare digests of their rosters: the leader sends its own with heartbeats, and a follower whose roster is
 * another one at that revision stops, since its answers would be wrong.
 *
 * Only the digest of the leader that this member follows counts. Nothing is stored: after a restart the next heartbeats
 * tell again.
 */
import type { NodeId } from "../raft/index";
import { DivergedError } from "../replica/diverged";
import type { ReplicaView } from "../replica/view";
import { ROSTER_DIGEST_BYTES, formatId } from "../roster/index";
import type { Roster, RosterDigest } from "../roster/index";

interface DivergenceOptions {
  readonly replica: ReplicaView;
  /** The roster as it is now. */
  readonly roster: () => Roster;
  /** This member's roster is not the cluster's: it must stop. */
  readonly onDiverged: (error: DivergedError) => void;
}

export class Divergence {
  /** The tick at which each member was told last. */
  private readonly toldAt = new Map<NodeId, number>();

  constructor(private readonly options: DivergenceOptions) {}

  /** What to tell `to` beside a heartbeat: on the leader, once in each heartbeat interval. */
  tell(to: NodeId): RosterDigest | null {
    const { replica, roster } = this.options;
    if (!replica.isLeader || this.toldAt.get(to) === replica.ticks) return null;
    if (this.toldAt.size > replica.roster.members().length) this.toldAt.clear();
    this.toldAt.set(to, replica.ticks);
    return roster().digests?.latest() ?? null;
  }

  /** @returns what is wrong with the message of `from`; null when it was taken or does not concern this member */
  hear(from: NodeId, theirs: RosterDigest): string | null {
    if (!Number.isSafeInteger(theirs.revision) || theirs.digest.length !== ROSTER_DIGEST_BYTES)
      return "no valid roster digest";
    const { replica, roster, onDiverged } = this.options;
    if (from !== replica.leader || replica.roster.member(from) === null) return null;
    const found = roster().digests?.compare(theirs, replica.applied) ?? "unknown";
    if (found === "same" || found === "unknown") return null;
    const { revision } = theirs;
    const leader = `the leader, member ${formatId(from)}`;
    const finding =
      found === "other"
        ? `the roster at revision ${revision} is not that of ${leader}`
        : `the roster of ${leader} changed at revision ${revision}, and this member's did not, though it has applied index ${replica.applied}`;
    onDiverged(new DivergedError(finding));
    return null;
  }
}
