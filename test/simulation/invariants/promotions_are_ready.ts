/**
 * A learner whose promotion a leader proposes is ready: it has started, the leader heard from it within an election
 * timeout, and its disk holds the newest membership change and all but a few of the leader's entries.
 */
import { ConfChangeType } from "../../../src/raft/index";
import type { ConfChange, Message, NodeId } from "../../../src/raft/index";
import { insideOf } from "../checkers";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { entryKey } from "../record";
import type { ClusterRecord } from "../record";
import { Violation } from "../violation";
import type { World } from "../world";

const NAME = "promotions_are_ready";
/** docs/adr/0023-learners-first.md */
const LAG_ENTRIES_MAX = 250;

export class PromotionsAreReady implements Observer {
  private readonly heard = new WeakMap<
    Member,
    Map<NodeId, { readonly term: number; readonly tick: number }>
  >();

  constructor(
    private readonly world: World,
    private readonly record: ClusterRecord,
  ) {}

  received(member: Member, from: NodeId, batch: readonly Message[]): void {
    const { term } = insideOf(member);
    if (!batch.some((message) => message.term === term)) return;
    const known =
      this.heard.get(member) ?? new Map<NodeId, { readonly term: number; readonly tick: number }>();
    this.heard.set(member, known.set(from, { term, tick: member.replica.ticks }));
  }

  changeProposed(member: Member, { changes }: ConfChange): void {
    for (const { type, nodeId } of changes) {
      const record = member.replica.roster.member(nodeId);
      if (type !== ConfChangeType.AddVoter || record?.learner !== true) continue;
      const missing = this.missing(member, nodeId, record.started);
      if (missing !== null) throw new Violation(NAME, `${member.label} promotes ${record.name}: ${missing}`);
    }
  }

  private missing(member: Member, id: NodeId, started: boolean): string | null {
    if (!started) return "it has not started";
    const { ticks, electionTicks } = member.replica;
    const raft = insideOf(member);
    const heard = this.heard.get(member)?.get(id);
    if (heard?.term !== raft.term || ticks - heard.tick >= electionTicks) return "it is not in contact";
    // A member with old data has less on its disk than it acknowledged: that is another fault.
    const host = this.world.hosts.find((other) => other.id === id && other.copyOf === null);
    if (host === undefined || host.wiped || host.rolledBack || host.bootsCopied !== null) return null;
    // The last entry is the change that is proposed.
    const last = raft.log.lastIndex() - 1;
    const { lastIndex } = host.durable;
    if (last - lastIndex > LAG_ENTRIES_MAX) return `its log is ${last - lastIndex} entries behind`;
    for (let index = last; index > 0; index--) {
      const term = raft.log.term(index);
      if (typeof term !== "number") return null;
      if (!this.record.confChanges.has(entryKey(term, index))) continue;
      return host.durable.holds(index, term)
        ? null
        : `its disk does not have the membership change at ${index}`;
    }
    return null;
  }
}
