/**
 * Raft messages and snapshots between members over the simulated network. Every batch carries its sender's handshake,
 * which is checked as the real transport checks it when a stream opens.
 */
import { MessageType } from "../../src/raft/index";
import type { Message, NodeId } from "../../src/raft/index";
import type { RpcError } from "../../src/rpc/rpc_error";
import { StatusCode } from "../../src/rpc/rpc_error";
import { handshakeOf, refuseHandshake } from "../../src/transport/handshake";
import type { Self } from "../../src/transport/handshake";
import type { PeerAddress, Transport, TransportEvents } from "../../src/transport/transport";
import type { Host } from "./host";
import type { Member } from "./member";
import { sizeOf } from "./network";
import type { World } from "./world";

/** Transfer time of one byte of a snapshot, in microseconds. About 1 MB/s, so that snapshots are in flight for a while. */
const SNAPSHOT_BYTE_US = 1;

export class SimTransport implements Transport {
  private peers = new Map<NodeId, PeerAddress>();
  private stopped = false;
  private readonly world: World;

  constructor(
    private readonly member: Member,
    private readonly self: Self,
    private readonly events: TransportEvents,
  ) {
    this.world = member.world;
  }

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
      // A broken stream may be noticed at once, or later by its keepalive. A lost packet on a healthy stream is resent.
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

  /** @returns false when the batch was not accepted */
  private arriveAt(target: Host, id: NodeId, batch: readonly Message[]): boolean {
    const receiver = target.running;
    const gate = receiver?.peerListener?.isOpen === true ? receiver.peerListener.gate() : null;
    if (receiver === null || gate === null) return false;
    this.world.coverage.add("product: peer judged by its handshake");
    const isSnapshot = batch.some(({ snapshot }) => snapshot !== null);
    const handshake = handshakeOf(this.self, id);
    const refusal = refuseHandshake(handshake, gate.memberId, (given) =>
      isSnapshot ? gate.checkSnapshot(given) : gate.check(given),
    );
    if (refusal !== null) {
      this.refused(target, id, refusal);
      return false;
    }
    gate.accepted(handshake);
    gate.receive(this.self.memberId, batch);
    receiver.world.checkers.received(receiver, this.self.memberId, batch);
    return true;
  }

  private refused(target: Host, id: NodeId, { code, reason, message }: RpcError): void {
    this.world.note(`${target.label} refuses ${this.member.label}: ${reason ?? ""} ${message}`);
    // UNAVAILABLE is a transient condition, not a refusal of the member: the sender only tries again.
    if (reason === null || code === StatusCode.UNAVAILABLE) return;
    this.report(target, () => {
      if (this.live) this.events.onRefused(id, reason, message);
    });
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
