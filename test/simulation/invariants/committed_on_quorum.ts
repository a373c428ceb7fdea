/**
 * What is committed is durable on a quorum, and stays there: a leader commits only what a quorum of its configuration
 * has acknowledged as durable, and nobody ever cuts off a committed entry. Raft paper, sections 5.3 and 5.4.2, and 6.
 */
import { Role } from "../../../src/raft/index";
import type { ConfState, NodeId } from "../../../src/raft/index";
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import type { ClusterRecord } from "../record";
import { Violation } from "../violation";
import type { World } from "../world";

const NAME = "committed_on_quorum";

export class CommittedOnQuorum implements Observer {
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
    // The change that was committed may have been applied in the same event.
    const earlier = (before.config as RaftInside["tracker"]["config"]).confState();
    const now = raft.tracker.config.confState();
    if (this.onQuorum(earlier, index, term) || this.onQuorum(now, index, term)) return;
    throw new Violation(NAME, `${member.label} commits ${term}/${index}, which is not durable on a quorum`);
  }

  cut(member: Member, index: number, term: number): void {
    if (this.record.terms[index] === term && index <= this.record.committed)
      throw new Violation(NAME, `${member.label} cuts off ${term}/${index}, which is committed`);
  }

  private onQuorum({ voters, votersOutgoing }: ConfState, index: number, term: number): boolean {
    return this.majority(voters, index, term) && this.majority(votersOutgoing, index, term);
  }

  private majority(voters: readonly NodeId[], index: number, term: number): boolean {
    if (voters.length === 0) return true;
    const holding = voters.filter((id) =>
      this.world.hosts.some(
        (host) =>
          host.id === id && (host.durable.holds(index, term) || host.lost?.holds(index, term) === true),
      ),
    );
    return holding.length > voters.length / 2;
  }
}
