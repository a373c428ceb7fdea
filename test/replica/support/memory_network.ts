/** Connects members in memory: each batch that one sends reaches the other in a turn of its own, in order. */
import { MessageType } from "../../../src/raft/index";
import type { Message, NodeId } from "../../../src/raft/index";
import type { PeerAddress, Transport, TransportEvents } from "../../../src/transport/transport";
import type { WorkQueue } from "./work_queue";

type Receive = (from: NodeId, messages: readonly Message[]) => void;

export class MemoryNetwork {
  /** All messages that a member gave to its transport, those that were lost too. */
  readonly sent: Message[] = [];
  /** False: the message is lost. */
  passes: (message: Message) => boolean = () => true;
  private readonly receivers = new Map<NodeId, Receive>();
  private readonly isolated = new Set<NodeId>();

  constructor(private readonly queue: WorkQueue) {}

  /** What takes the messages to `id`. Replaced when the member starts again. */
  attach(id: NodeId, receive: Receive): void {
    this.receivers.set(id, receive);
  }

  /** Nothing reaches `id`, and nothing comes from it. */
  isolate(id: NodeId): void {
    this.isolated.add(id);
  }

  heal(): void {
    this.isolated.clear();
    this.passes = () => true;
  }

  transport(id: NodeId, events: TransportEvents): MemoryTransport {
    return new MemoryTransport(id, events, this);
  }

  carry(sender: MemoryTransport, messages: readonly Message[]): void {
    this.sent.push(...messages);
    const byReceiver = new Map<NodeId, Message[]>();
    for (const message of messages) {
      const batch = byReceiver.get(message.to);
      if (batch === undefined) byReceiver.set(message.to, [message]);
      else batch.push(message);
    }
    for (const [to, batch] of byReceiver) {
      const known = sender.knows(to);
      this.queue.defer(() => {
        if (!sender.stopped) this.deliver(sender, to, batch, known);
      });
    }
  }

  private deliver(sender: MemoryTransport, to: NodeId, batch: readonly Message[], known: boolean): void {
    const { id, events } = sender;
    const receive = this.receivers.get(to);
    const connected = known && !this.isolated.has(id) && !this.isolated.has(to);
    const arriving = connected ? batch.filter((message) => this.passes(message)) : [];
    for (const { type } of batch)
      if (type === MessageType.Snapshot) events.onSnapshotResult(to, arriving.length > 0);
    if (arriving.length > 0) receive?.(id, arriving);
  }
}

export class MemoryTransport implements Transport {
  peers: readonly PeerAddress[] = [];
  /** As last told by its member; a MemoryCluster passes it on with each batch. */
  diskFull = false;
  stopped = false;

  constructor(
    readonly id: NodeId,
    readonly events: TransportEvents,
    private readonly network: MemoryNetwork,
  ) {}

  knows(id: NodeId): boolean {
    return this.peers.some((peer) => peer.id === id);
  }

  send(messages: readonly Message[]): void {
    this.network.carry(this, messages);
  }

  setPeers(peers: readonly PeerAddress[]): void {
    this.peers = peers;
  }

  setDiskFull(full: boolean): void {
    this.diskFull = full;
  }

  stop(): void {
    this.stopped = true;
  }
}
