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
import type { PeerAddress, RosterDigest, Transport, TransportEvents } from "../../src/transport/transport";
import type { Host } from "./host";
import type { Member } from "./member";
import { sizeOf } from "./network";
import type { World } from "./world";

/** Transfer time of one byte of a snapshot, in microseconds. About 1 MB/s, so that snapshots are in flight for a while. */
const SNAPSHOT_BYTE_US = 1;
/** Pause before another attempt to open a stream, in virtual milliseconds. */
const RECONNECT_MS_MIN = 100;
const RECONNECT_MS_MAX = 1000;
/** Pause between two handshakes of a refused member with the others: as long as the real one waits after a refusal. */
const ASK_AGAIN_US = 1_000_000;

export class SimTransport implements Transport {
  private peers = new Map<NodeId, PeerAddress>();
  /** Which of a peer's addresses is in use. */
  private readonly at = new Map<NodeId, number>();
  private stopped = false;
  private asksAgainUs = 0;
  /** Peers whose last answer to this member was a refusal. */
  private readonly refusedBy = new Set<NodeId>();
  /** Peers that took the last batch: a stream to them is open. */
  private readonly open = new Set<NodeId>();
  /** Peers for which another attempt to open a stream is planned. */
  private readonly connecting = new Set<NodeId>();
  private diskFull = false;
  private readonly world: World;

  constructor(
    private readonly member: Member,
    private readonly self: Self,
    private readonly events: TransportEvents,
  ) {
    this.world = member.world;
  }

  setPeers(peers: readonly PeerAddress[]): void {
    const before = this.peers;
    this.peers = new Map(peers.map((peer) => [peer.id, peer]));
    // A stream is opened at once, and its handshake says where this member is, also when it has nothing to send.
    for (const { id, peerUrls } of peers) {
      if (before.get(id)?.peerUrls.join() === peerUrls.join()) continue;
      this.open.delete(id);
      this.sendBatch(id, []);
    }
  }

  /** The stream to a peer ended, or was not opened: it is tried again, also when there is nothing to send. */
  private connectLater(id: NodeId): void {
    this.open.delete(id);
    if (this.connecting.has(id) || !this.live) return;
    this.connecting.add(id);
    const { world, member } = this;
    world.scheduler.after(
      world.random.between(RECONNECT_MS_MIN, RECONNECT_MS_MAX) * 1000,
      "client",
      member,
      () => {
        this.connecting.delete(id);
        if (this.live && this.peers.has(id) && !this.open.has(id)) this.sendBatch(id, []);
      },
    );
  }

  /** Told with each batch: every one of them is as good as a stream of its own. */
  setDiskFull(full: boolean): void {
    this.diskFull = full;
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
    if (target === null) {
      this.connectLater(id);
      return;
    }
    const { world, member } = this;
    const lost = (): void => {
      this.connectLater(id);
      if (batch.some(({ type }) => type === MessageType.PreVote || type === MessageType.PreVoteResponse))
        world.coverage.add("PreVote lost");
      // A broken stream may be noticed at once, or later by its keepalive. A lost packet on a healthy stream is resent.
      if (this.live && world.random.chance(0.3)) this.events.onUnreachable(id);
    };
    const isBeat = batch.some(({ type }) => type === MessageType.Heartbeat);
    const digest = isBeat ? (this.events.rosterDigest?.(id) ?? null) : null;
    const arrive = (): void => {
      if (!this.arriveAt(target, id, batch, digest)) this.report(target, lost);
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
  private arriveAt(
    target: Host,
    id: NodeId,
    batch: readonly Message[],
    digest: RosterDigest | null = null,
  ): boolean {
    const { host } = this.member;
    // What a process sent before its machine lost its disk is gone once another process runs there.
    if (!this.member.alive && host.wiped && host.member !== null) return false;
    const receiver = target.running;
    const gate = receiver?.peerListener?.isOpen === true ? receiver.peerListener.gate() : null;
    if (receiver === null || gate === null) {
      // The connection is refused, as at an address where no machine is.
      this.nextAddress(id);
      return false;
    }
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
    gate.diskFull(this.self.memberId, this.diskFull);
    receiver.peerListener?.senders.set(this.self.memberId, this.member);
    gate.accepted(handshake);
    this.opened(target, id);
    gate.receive(this.self.memberId, batch);
    if (target.rolledBack) receiver.mustHaveNoticed(batch);
    if (digest !== null) gate.digest(this.self.memberId, digest);
    receiver.world.checkers.received(receiver, this.self.memberId, batch);
    return true;
  }

  private refused(target: Host, id: NodeId, { code, reason, message }: RpcError): void {
    this.world.note(`${target.label} refuses ${this.member.label}: ${reason ?? ""} ${message}`);
    this.nextAddress(id);
    // UNAVAILABLE is a transient condition, not a refusal of the member: the sender only tries again.
    if (reason === null || code === StatusCode.UNAVAILABLE) return;
    this.refusedBy.add(id);
    this.askOthers();
    this.report(target, () => {
      if (this.live) this.events.onRefused(id, reason, message);
    });
  }

  /**
   * The real transport's streams to all peers are open, so a member that one refuses hears soon what the others say. Here
   * each batch is judged, and a follower sends to its leader alone.
   */
  private askOthers(): void {
    const { world, member } = this;
    if (world.scheduler.nowUs < this.asksAgainUs) return;
    this.asksAgainUs = world.scheduler.nowUs + ASK_AGAIN_US;
    for (const id of this.peers.keys()) {
      const target = this.target(id);
      if (target === null || this.refusedBy.has(id)) continue;
      const judged = (): void => {
        const gate =
          target.running?.peerListener?.isOpen === true ? target.running.peerListener.gate() : null;
        if (gate === null) return;
        const refusal = refuseHandshake(handshakeOf(this.self, id), gate.memberId, (given) =>
          gate.check(given),
        );
        if (refusal !== null) this.refused(target, id, refusal);
      };
      world.network.carry("deliver", member.host, target, judged, { detail: [], once: true });
    }
  }

  /** A peer refused this member, by a fault: no message was needed for it. */
  heardRefusal(id: NodeId, reason: string, text: string): void {
    if (!this.live || !this.peers.has(id)) return;
    this.refusedBy.add(id);
    this.events.onRefused(id, reason, text);
  }

  private opened(target: Host, id: NodeId): void {
    const wasRefused = this.refusedBy.delete(id);
    if (this.open.has(id) && !wasRefused) return;
    this.open.add(id);
    this.report(target, () => {
      if (this.live) this.events.onAccepted?.(id);
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
    const urls = this.peers.get(id)?.peerUrls ?? [];
    const url = urls[(this.at.get(id) ?? 0) % Math.max(1, urls.length)];
    const host = url === undefined ? null : this.world.hostAt(url);
    // Nobody is there: the next attempt goes to the next address.
    if (host === null) this.nextAddress(id);
    else if (url !== urls[0]) this.world.coverage.add("second address used");
    return host;
  }

  private nextAddress(id: NodeId): void {
    this.at.set(id, (this.at.get(id) ?? 0) + 1);
  }
}
