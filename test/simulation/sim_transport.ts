/**
 * Peers over the simulated network. Each batch arrives with what a stream's handshake says, and the receiver decides by
 * its roster whether it talks to the sender, as RaftService does: another cluster's, a removed and a wiped member are
 * refused with a reason. SPEC section 2 ("Publish", "Removed members"); DESIGN "One log, one truth".
 */
import { MessageType } from "../../src/raft/index";
import type { Message, NodeId } from "../../src/raft/index";
import { sameBytes } from "../../src/roster/index";
import type { Node } from "../../src/server/node";
import type { Identity } from "../../src/storage/storage";
import type { PeerAddress, Transport, TransportEvents } from "../../src/transport/transport";
import type { Host } from "./host";
import type { Member } from "./member";
import { sizeOf } from "./network";
import type { World } from "./world";

export type PeerRefusal = "CLUSTER_ID_MISMATCH" | "MEMBER_REMOVED" | "MEMBER_WIPED" | "MEMBER_MISMATCH";

/** Microseconds that a byte of a snapshot takes: about 1 MB/s, so that snapshots stay in flight for a while. */
const SNAPSHOT_BYTE_US = 1;

export class SimTransport implements Transport {
  private peers = new Map<NodeId, PeerAddress>();
  private stopped = false;

  constructor(
    private readonly world: World,
    private readonly member: Member,
    private readonly identity: Identity,
    private readonly events: TransportEvents,
  ) {}

  setPeers(peers: readonly PeerAddress[]): void {
    this.peers = new Map(peers.map((peer) => [peer.id, peer]));
  }

  stop(): void {
    this.stopped = true;
  }

  send(messages: readonly Message[]): void {
    if (this.stopped) return;
    const batches = new Map<NodeId, Message[]>();
    for (const message of messages) {
      this.world.checkers.sent(this.member, message);
      if (message.type === MessageType.Snapshot) {
        this.sendSnapshot(message);
        continue;
      }
      const batch = batches.get(message.to);
      if (batch === undefined) batches.set(message.to, [message]);
      else batch.push(message);
    }
    for (const [id, batch] of batches) this.sendBatch(id, batch);
  }

  private sendBatch(id: NodeId, batch: readonly Message[]): void {
    const target = this.target(id);
    if (target === null) return;
    const { world, member } = this;
    const lost = (): void => {
      if (batch.some(({ type }) => type === MessageType.PreVote || type === MessageType.PreVoteResponse))
        world.coverage.add("PreVote lost");
      // A broken stream is noticed at once, or only by its keepalive; a packet lost on a healthy one is sent again.
      if (this.live && world.random.chance(0.3)) this.events.onUnreachable(id);
    };
    const arrive = (): void => {
      if (!this.arriveAt(target, id, batch)) this.report(target, lost);
    };
    world.network.carry("deliver", member.host, target, arrive, {
      lost: () => {
        this.report(target, lost);
      },
      detail: batch,
    });
  }

  private sendSnapshot(message: Message): void {
    const id = message.to;
    const target = this.target(id);
    const { world, member } = this;
    world.coverage.add("snapshot in flight");
    const result = (delivered: boolean): void => {
      if (!delivered) world.coverage.add("snapshot lost");
      if (this.live) this.events.onSnapshotResult(id, delivered);
    };
    const report = (delivered: boolean): void => {
      const from = target ?? member.host;
      const delay = world.network.delayBetween(from, member.host);
      world.scheduler.after(delay, "report", member, () => {
        result(delivered);
      });
    };
    if (target === null) {
      report(false);
      return;
    }
    const arrive = (): void => {
      report(this.arriveAt(target, id, [message]));
    };
    world.network.carry("deliver", member.host, target, arrive, {
      lost: () => {
        report(false);
      },
      extraUs: sizeOf(message) * SNAPSHOT_BYTE_US,
      detail: [message],
      once: true,
    });
  }

  /** False: nobody there took it. */
  private arriveAt(target: Host, id: NodeId, batch: readonly Message[]): boolean {
    const receiver = target.running;
    if (receiver === null) return false;
    const refusal = refusePeer(this.identity, id, receiver.node);
    if (refusal !== null) {
      this.world.note(`${receiver.label} refuses ${this.member.label}: ${refusal}`);
      this.report(target, () => {
        if (this.live) this.events.onRefused(id, refusal, refusal);
      });
      return false;
    }
    receiver.node.meet({ id: this.identity.memberId, peerUrls: [this.member.host.peerUrl] });
    receiver.receive(this.identity.memberId, batch);
    return true;
  }

  private report(from: Host, act: () => void): void {
    const { world, member } = this;
    world.scheduler.after(world.network.delayBetween(from, member.host), "report", member, act);
  }

  private get live(): boolean {
    return !this.stopped && this.member.alive;
  }

  private target(id: NodeId): Host | null {
    const url = this.peers.get(id)?.peerUrls[0];
    return url === undefined ? null : this.world.hostAt(url);
  }
}

/** Why `node` does not talk to the member that calls itself `from` and wants to reach `to`; null when it does. */
export function refusePeer(from: Identity, to: NodeId, node: Node): PeerRefusal | null {
  if (from.clusterId !== node.clusterId) return "CLUSTER_ID_MISMATCH";
  const { roster } = node;
  if (roster.tombstone(from.memberId) !== null && !node.isLeaving(from.memberId)) return "MEMBER_REMOVED";
  const known = roster.member(from.memberId);
  if (known !== null && known.instanceId.length > 0 && !sameBytes(known.instanceId, from.instanceId))
    return "MEMBER_WIPED";
  return to === node.id ? null : "MEMBER_MISMATCH";
}
