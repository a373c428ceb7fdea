/**
 * A committed entry is durable on a quorum and stays so: a leader commits only entries that a quorum of its configuration
 * has acknowledged as durable, and when a member truncates a committed entry, a quorum without this member still has it.
 * (A late append of an older leader may truncate such an entry on one member.) Raft paper, sections 5.3, 5.4.2 and 6.
 */
import { Role } from "../../../src/raft/index";
import type { ConfState, NodeId } from "../../../src/raft/index";
import type { Host } from "../host";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { isMajority } from "../record";
import type { ClusterRecord } from "../record";
import { Violation } from "../violation";
import type { World } from "../world";

const NAME = "committed_on_quorum";

export class CommittedOnQuorum implements Observer {
  /** The configuration whose quorum committed the entry at each index. */
  private readonly configs: ConfState[] = [];

  constructor(
    private readonly world: World,
    private readonly record: ClusterRecord,
  ) {}

  step(member: Member, raft: RaftInside, before: MemberState): void {
    const { log } = raft;
    if (raft.role !== Role.Leader || before.role !== Role.Leader || log.committed <= before.committed) return;
    const index = log.committed;
    const term = log.term(index);
    if (typeof term !== "number") return;
    // A membership change may have been committed and applied in the same event.
    const earlier = (before.config as RaftInside["tracker"]["config"]).confState();
    const now = raft.tracker.config.confState();
    const config = [earlier, now].find((candidate) => this.onQuorum(candidate, index, term));
    if (config !== undefined) {
      for (let i = before.committed + 1; i <= index; i++) this.configs[i] = config;
      return;
    }
    throw new Violation(NAME, `${member.label} commits ${term}/${index}, which is not durable on a quorum`);
  }

  cut(member: Member, index: number, term: number): void {
    if (this.record.terms[index] !== term || index > this.record.committed) return;
    const config = this.configs[index];
    if (config !== undefined && this.onQuorum(config, index, term, member.host)) return;
    throw new Violation(NAME, `${member.label} cuts off ${term}/${index}, which is committed`);
  }

  /** @param without a member that is not counted */
  private onQuorum(
    { voters, votersOutgoing }: ConfState,
    index: number,
    term: number,
    without: Host | null = null,
  ): boolean {
    const hosts = this.world.hosts.filter((host) => host !== without);
    const holds = (id: NodeId): boolean =>
      hosts.some(
        (host) =>
          host.id === id && (host.durable.holds(index, term) || host.lost?.holds(index, term) === true),
      );
    return isMajority(voters, holds) && isMajority(votersOutgoing, holds);
  }
}
