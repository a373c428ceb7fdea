/**
 * After a membership change that a leader proposes, the leader is still in contact with a quorum: a majority of the new
 * voters has sent it a message in its current term and within the last election timeout. Contacts are recorded here from
 * the batches that the network delivered, independently of the product's own record. A voter whose new peer URL does not
 * lead to its machine counts as lost, and a started one that is heard may not be lost in this way at all.
 *
 * A member that is replaced in place loses its disk, so it must not be one that the leader hears. One whose messages it does
 * not take, because its full disk can't keep that it met that member, is not heard.
 *
 * Of the second member of a cluster of one no message shows anything: it must be configured with the name and the peer
 * URL under which it is added.
 */
import { ConfChangeType, Role, MessageType } from "../../../src/raft/index";
import type { ConfChange, ConfChangeSingle, Message, NodeId } from "../../../src/raft/index";
import { decodeCommand } from "../../../src/roster/index";
import { insideOf } from "../checkers";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { isMajority } from "../record";
import { Violation } from "../violation";
import { isAstray } from "../world";

const NAME = "reconfiguration_keeps_quorum";

/** How old an answer may be by which a leader judges a peer URL, in election timeouts; one, and the skew of clocks. */
const CONTACT_ELECTIONS = 1.2;

interface Heard {
  readonly term: number;
  readonly tick: number;
}

/** What shows that the member gets what the leader sends: one that only asks for votes is not in contact both ways. */
export function isAnswer({ type }: Message): boolean {
  return type === MessageType.AppendResponse || type === MessageType.HeartbeatResponse;
}

export class ReconfigurationKeepsQuorum implements Observer {
  private readonly heard = new WeakMap<Member, Map<NodeId, Heard>>();

  received(member: Member, from: NodeId, batch: readonly Message[]): void {
    const { role, term } = insideOf(member);
    if (role !== Role.Leader || !batch.some((message) => message.term === term && isAnswer(message))) return;
    let known = this.heard.get(member);
    if (known === undefined) this.heard.set(member, (known = new Map<NodeId, Heard>()));
    known.set(from, { term, tick: member.replica.ticks });
  }

  changeProposed(member: Member, { changes, context }: ConfChange): void {
    const { voters } = insideOf(member).tracker.config.confState();
    const { body } = decodeCommand(context);
    const added = changes.filter(({ type }) => type === ConfChangeType.AddVoter).map(({ nodeId }) => nodeId);
    const leaves = [ConfChangeType.Remove, ConfChangeType.AddLearner];
    const removed = changes.filter(({ type }) => leaves.includes(type)).map(({ nodeId }) => nodeId);
    if (voters.length === 1 && body?.$case === "addMember" && added.length > 0)
      this.checkJoiner(member, body.value);
    if (body?.$case === "replaceMember" && !body.value.sideBySide) this.checkReplaced(member, changes);
    const after = [...voters.filter((id) => !removed.includes(id) && !added.includes(id)), ...added];
    const astray =
      body?.$case === "updateMember" ? this.movedAstray(member, voters, changes, body.value) : null;
    const touchesVoters = added.length > 0 || removed.some((id) => voters.includes(id)) || astray !== null;
    if (!touchesVoters || (voters.length === 1 && astray === null)) return;
    const isConnected = (voter: NodeId): boolean => this.isConnected(member, voter);
    if (astray !== null && isConnected(astray) && member.replica.roster.member(astray)?.started === true)
      throw this.violation(member, `moves ${short(astray)}, which it hears, to where it is not`);
    if (isMajority(after, (voter) => voter !== astray && isConnected(voter))) return;
    const names = after.filter((voter) => voter === astray || !isConnected(voter)).map(short);
    throw this.violation(member, `proposes a change without a quorum: not connected ${names.join(" ")}`);
  }

  private isConnected(member: Member, voter: NodeId): boolean {
    const { id, ticks, electionTicks } = member.replica;
    const last = this.heard.get(member)?.get(voter);
    return voter === id || (last?.term === insideOf(member).term && ticks - last.tick < electionTicks);
  }

  /** The voter that gets a peer URL at which it is not; null for a URL that leads to its machine. */
  private movedAstray(
    { world, replica }: Member,
    voters: readonly NodeId[],
    changes: readonly ConfChangeSingle[],
    { newPeerUrl }: { readonly newPeerUrl: string },
  ): NodeId | null {
    const id = changes[0]?.nodeId ?? 0n;
    const listed = replica.roster.member(id);
    if (!voters.includes(id) || listed === null || listed.peerUrls[0] === newPeerUrl) return null;
    // It answered there a moment ago: no leader can know that its machine has another address since.
    const host = world.hosts.find((candidate) => candidate.id === id);
    const unknownUs = CONTACT_ELECTIONS * world.profile.electionMs * 1000;
    if (
      host !== undefined &&
      newPeerUrl.startsWith(`http://${host.addressBefore}:`) &&
      world.scheduler.nowUs - host.movedUs < unknownUs
    )
      return null;
    return isAstray(world, { ...listed, peerUrls: [newPeerUrl] }) ? id : null;
  }

  private checkReplaced(member: Member, changes: readonly ConfChangeSingle[]): void {
    const heard = changes.find(
      ({ type, nodeId }) =>
        type === ConfChangeType.Remove && this.isConnected(member, nodeId) && member.takesFrom(nodeId),
    );
    if (heard !== undefined)
      throw this.violation(member, `gives the place of ${short(heard.nodeId)} away, which it hears`);
  }

  /** The second member of a cluster must be one that will recognise itself in the roster. */
  private checkJoiner(
    member: Member,
    { name, peerUrl }: { readonly name: string; readonly peerUrl: string },
  ): void {
    const { hosts } = member.world;
    if (hosts.some((host) => host.name === name && host.peerUrl === peerUrl)) return;
    throw this.violation(member, `adds a second voter ${name} at ${peerUrl}, and none is configured so`);
  }

  private violation(member: Member, text: string): Violation {
    return new Violation(NAME, `${member.label} ${text}`);
  }
}

function short(id: NodeId): string {
  return id.toString(16).slice(0, 4);
}
