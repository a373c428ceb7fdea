/**
 * Looks for members at other addresses than the roster lists: those of initial-cluster, which stay hints for ever. While
 * no leader is known, and on a leader that misses a member, each of them is asked now and then who listens there. A member of this roster, with the data
 * directory that is known of it, gets that address as a second one.
 *
 * So a cluster whose members all moved at once finds itself again by the new initial-cluster of its members, and from
 * then on by what they tell each other in their handshakes.
 */
import { NO_NODE } from "../raft/index";
import type { Replica } from "../replica/replica";
import type { PeerCalls } from "../transport/peer_calls";
import type { PeerIdentities } from "./peer_identity";
import { askHello } from "./peer_questions";

/** Between two rounds of questions, in election timeouts: an election that works is over by then. */
const ROUND_ELECTIONS = 2;
/** The same on a leader: the cluster works, and the member may be down for long. */
const LEADER_ROUND_ELECTIONS = 10;
/** Most addresses asked in a round. */
const ASKED_MAX = 32;

interface AddressHintsOptions {
  readonly replica: Replica;
  readonly identities: PeerIdentities;
  readonly peers: Pick<PeerCalls, "ask">;
  /** This member's own data directory. */
  readonly instanceId: Uint8Array;
  /** Addresses where members may listen, in normal form. */
  readonly urls: readonly string[];
}

export class AddressHints {
  private nextTick = 0;
  private asking = false;

  constructor(private readonly options: AddressHintsOptions) {
    const { replica, urls } = options;
    if (urls.length === 0) return;
    replica.listen({
      onTick: () => {
        if (this.asking || replica.ticks < this.nextTick) return;
        const elections = replica.isLeader ? LEADER_ROUND_ELECTIONS : ROUND_ELECTIONS;
        this.nextTick = replica.ticks + elections * replica.electionTicks;
        if (this.missesMembers()) void this.ask();
      },
    });
  }

  private missesMembers(): boolean {
    const { replica } = this.options;
    if (!replica.isLeader) return replica.leader === NO_NODE;
    const { contacts, ticks } = replica;
    return replica.roster
      .members()
      .some(({ id }) => id !== replica.id && contacts.inContactTicks(id, ticks) === null);
  }

  private async ask(): Promise<void> {
    const { urls } = this.options;
    this.asking = true;
    // Also those that the roster has: another member may listen there now.
    await Promise.all(urls.slice(0, ASKED_MAX).map((url) => this.askOne(url)));
    this.asking = false;
  }

  private async askOne(url: string): Promise<void> {
    const { replica, identities, peers, instanceId } = this.options;
    const asker = {
      clusterId: replica.clusterId,
      memberId: replica.id,
      instanceId: Buffer.from(instanceId),
    };
    const hello = await askHello(peers, url, asker);
    if (hello === null || hello.clusterId !== replica.clusterId || hello.memberId === replica.id) return;
    // A waiting member, and one of a version that does not tell its data directory, have none.
    if (hello.instanceId.length === 0) return;
    const { roster } = replica;
    // It has left the roster, and its vote is needed until it has left the configuration too.
    const isLeaving = replica.status().confState.votersOutgoing.includes(hello.memberId);
    // A joiner whose roster is still empty tells where it is to all that it finds.
    const isStranger = roster.member(hello.memberId) === null && roster.members().length > 0;
    if (!isLeaving && (isStranger || identities.metAnother(hello.memberId, hello.instanceId))) return;
    replica.addProvisionalPeer({ id: hello.memberId, peerUrls: [url] });
  }
}
