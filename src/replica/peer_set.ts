/**
 * The members that this one sends to: those of the roster, and for a while those that it knows by their streams alone
 * (a joiner has to answer a cluster that its own roster does not list yet).
 */
import type { NodeId } from "../raft/index";
import type { RosterView } from "../roster/index";
import type { PeerAddress } from "../transport/transport";

/** Peers known by their streams alone; the oldest goes first, so that strangers cost a bounded number of connections. */
const PROVISIONAL_MAX = 64;

export class PeerSet {
  private readonly provisional = new Map<NodeId, PeerAddress>();
  private lastFound: ReadonlyMap<NodeId, PeerAddress> = new Map();

  constructor(private readonly self: NodeId) {}

  /** A stream came from `peer`. True when the set changed. */
  addProvisional(peer: PeerAddress, roster: RosterView): boolean {
    if (roster.member(peer.id) !== null || peer.id === this.self) return false;
    this.provisional.delete(peer.id);
    this.provisional.set(peer.id, peer);
    for (const oldest of this.provisional.keys()) {
      if (this.provisional.size <= PROVISIONAL_MAX) break;
      this.provisional.delete(oldest);
    }
    return true;
  }

  /**
   * All addresses to send to: the members, the outgoing voters of a joint configuration (the roster has removed them,
   * but their votes still count until it is left), and provisional peers.
   */
  addresses(roster: RosterView, outgoing: readonly NodeId[]): PeerAddress[] {
    const found = new Map<NodeId, PeerAddress>();
    for (const { id, peerUrls } of roster.members()) if (id !== this.self) found.set(id, { id, peerUrls });
    for (const id of outgoing) {
      const last = this.lastFound.get(id);
      if (last !== undefined && !found.has(id)) found.set(id, last);
    }
    for (const [id, peer] of [...this.provisional]) {
      const removed = roster.tombstone(id) !== null && !outgoing.includes(id);
      if (removed || roster.member(id) !== null) this.provisional.delete(id);
      else if (!found.has(id)) found.set(id, peer);
    }
    this.lastFound = found;
    return [...found.values()];
  }
}
