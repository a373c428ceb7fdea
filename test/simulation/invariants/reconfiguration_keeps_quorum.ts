/**
 * After a membership change that a leader proposes, the leader is still in contact with a quorum: a majority of the new
 * voters has sent it a message in its current term and within the last election timeout. Contacts are recorded here from
 * the batches that the network delivered, independently of the product's own record.
 *
 * The second member of a cluster of one is not checked: there the product asks the new member directly, and no message of
 * this term shows the answer.
 */
import { ConfChangeType, Role } from "../../../src/raft/index";
import type { ConfChange, Message, NodeId } from "../../../src/raft/index";
import { insideOf } from "../checkers";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { isMajority } from "../record";
import { Violation } from "../violation";

const NAME = "reconfiguration_keeps_quorum";

interface Heard {
  readonly term: number;
  readonly tick: number;
}

export class ReconfigurationKeepsQuorum implements Observer {
  private readonly heard = new WeakMap<Member, Map<NodeId, Heard>>();

  received(member: Member, from: NodeId, batch: readonly Message[]): void {
    const { role, term } = insideOf(member);
    if (role !== Role.Leader || !batch.some((message) => message.term === term)) return;
    let known = this.heard.get(member);
    if (known === undefined) this.heard.set(member, (known = new Map<NodeId, Heard>()));
    known.set(from, { term, tick: member.replica.ticks });
  }

  changeProposed(member: Member, { changes }: ConfChange): void {
    const { term, tracker } = insideOf(member);
    const { voters } = tracker.config.confState();
    const added = changes.filter(({ type }) => type === ConfChangeType.AddVoter).map(({ nodeId }) => nodeId);
    const removed = changes.filter(({ type }) => type === ConfChangeType.Remove).map(({ nodeId }) => nodeId);
    // Only changes that the strict reconfiguration check covers: one voter is added or removed, in one step.
    if (changes.length !== 1 || voters.length === 1) return;
    const isPromotion = added.some((id) => member.replica.roster.member(id) !== null);
    const touchesVoters = added.length > 0 || removed.some((id) => voters.includes(id));
    if (isPromotion || !touchesVoters) return;
    const after = [...voters.filter((id) => !removed.includes(id)), ...added];
    const { id, ticks, electionTicks } = member.replica;
    const isConnected = (voter: NodeId): boolean => {
      const last = this.heard.get(member)?.get(voter);
      return voter === id || (last?.term === term && ticks - last.tick < electionTicks);
    };
    if (isMajority(after, isConnected)) return;
    const names = after.filter((voter) => !isConnected(voter)).map((voter) => voter.toString(16).slice(0, 4));
    throw new Violation(
      NAME,
      `${member.label} proposes a change without a quorum: not heard ${names.join(" ")}`,
    );
  }
}
