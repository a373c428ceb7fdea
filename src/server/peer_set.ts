/**
 * Whom this member talks to: the members of the roster, and for a while those that it knows by their streams alone (a
 * joiner has to answer a cluster that its own roster does not have yet).
 */
import type { Roster } from "../membership/index";
import type { NodeId } from "../raft/index";
import type { PeerAddress } from "../transport/transport";

/** Peers known by their streams alone; the oldest goes first, so that strangers cost a bounded number of connections. */
const PROVISIONAL_MAX = 64;

export class PeerSet {
  private readonly provisional = new Map<NodeId, PeerAddress>();

  constructor(private readonly self: NodeId) {}

  /** A stream came from `peer`. True when the set changed. */
  meet(peer: PeerAddress, roster: Roster): boolean {
    if (roster.member(peer.id) !== null || peer.id === this.self) return false;
    this.provisional.delete(peer.id);
    this.provisional.set(peer.id, peer);
    for (const oldest of this.provisional.keys()) {
      if (this.provisional.size <= PROVISIONAL_MAX) break;
      this.provisional.delete(oldest);
    }
    return true;
  }

  /** Everyone to talk to; who is in the roster by now, or removed from it, is no longer provisional. */
  addresses(roster: Roster): PeerAddress[] {
    for (const id of [...this.provisional.keys()]) {
      if (roster.member(id) !== null || roster.tombstone(id) !== null) this.provisional.delete(id);
    }
    const members = roster.members().filter((member) => member.id !== this.self);
    return [...members.map(({ id, peerUrls }) => ({ id, peerUrls })), ...this.provisional.values()];
  }
}
