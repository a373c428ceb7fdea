/**
 * The members that this one sends to, and their addresses: those of the roster, a second one for a member that said itself
 * that it is reached elsewhere, and for a while members that are known by their streams alone (a joiner has to answer a
 * cluster that its own roster does not list yet).
 */
import type { NodeId } from "../raft/index";
import type { RosterView } from "../roster/index";
import type { PeerAddress } from "../transport/transport";

/** Peers known by their streams alone; the oldest goes first, so that strangers cost a bounded number of connections. */
const PROVISIONAL_MAX = 64;

export class PeerSet {
  private readonly provisional = new Map<NodeId, PeerAddress>();
  /** Where members of the roster say that they are reached, when the roster has another URL. */
  private readonly second = new Map<NodeId, string>();
  private lastFound: ReadonlyMap<NodeId, PeerAddress> = new Map();

  constructor(private readonly self: NodeId) {}

  /** A stream came from `peer`, with its own address. True when the set changed. */
  addProvisional(peer: PeerAddress, roster: RosterView): boolean {
    if (peer.id === this.self) return false;
    const known = roster.member(peer.id);
    if (known !== null) return this.setSecond(peer, known.peerUrls);
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
    for (const [id, peer] of [...this.provisional]) {
      const known = roster.member(id);
      if (known !== null) this.setSecond(peer, known.peerUrls);
      if (known !== null || (roster.tombstone(id) !== null && !outgoing.includes(id)))
        this.provisional.delete(id);
    }
    for (const { id, peerUrls } of roster.members()) {
      if (id === this.self) continue;
      const second = this.second.get(id);
      if (second !== undefined && peerUrls.includes(second)) this.second.delete(id);
      found.set(id, {
        id,
        peerUrls: second === undefined || peerUrls.includes(second) ? peerUrls : [...peerUrls, second],
      });
    }
    for (const id of outgoing) {
      // What it said itself since is newer than what the roster said before.
      const last = this.provisional.get(id) ?? this.lastFound.get(id);
      if (last !== undefined && !found.has(id)) found.set(id, last);
    }
    for (const [id, peer] of this.provisional) if (!found.has(id)) found.set(id, peer);
    for (const id of this.second.keys()) if (!found.has(id)) this.second.delete(id);
    this.lastFound = found;
    return [...found.values()];
  }

  /** Where calls to a member go: what it said itself is newer than the roster. Null: the roster does not list it. */
  urlOf(id: NodeId, roster: RosterView): string | null {
    const known = roster.member(id);
    return known === null ? null : (this.second.get(id) ?? known.peerUrls[0] ?? null);
  }

  private setSecond({ id, peerUrls: [url] }: PeerAddress, listed: readonly string[]): boolean {
    if (url === undefined || listed.includes(url)) return this.second.delete(id);
    if (this.second.get(id) === url) return false;
    this.second.set(id, url);
    return true;
  }
}
