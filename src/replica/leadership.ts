/** Notices changes of leader, role and term, and says what kind of change each is. */
import type { Log } from "../base/log";
import { NO_NODE, Role } from "../raft/index";
import type { NodeId } from "../raft/index";

/** What the core says of leadership now. */
interface LeadershipState {
  readonly leader: NodeId;
  readonly term: number;
  readonly role: Role;
  readonly lastIndex: number;
}

interface LeadershipChange {
  /** This member began to lead, in a new term or after it had stopped. */
  readonly becameLeader: boolean;
  readonly leaderChanged: boolean;
}

export class Leadership {
  private leader: NodeId = NO_NODE;
  private term = 0;
  private role: Role = Role.Follower;

  constructor(
    private readonly self: NodeId,
    private readonly log: Log,
  ) {}

  /** Null when nothing changed since the last call. */
  notice({ leader, term, role, lastIndex }: LeadershipState): LeadershipChange | null {
    if (leader === this.leader && term === this.term && role === this.role) return null;
    const becameLeader = role === Role.Leader && (this.role !== Role.Leader || term !== this.term);
    const leaderChanged = leader !== this.leader;
    this.leader = leader;
    this.term = term;
    this.role = role;
    if (leaderChanged) this.report(leader, term, lastIndex);
    return { becameLeader, leaderChanged };
  }

  private report(leader: NodeId, term: number, index: number): void {
    if (leader === NO_NODE) this.log.info({ term, index }, "no leader");
    else if (leader === this.self) this.log.info({ leader, term, index }, "this member leads");
    else this.log.info({ leader, term, index }, "leader changed");
  }
}
