/** What the transport's tests share: messages, a member's receiving side, a sending side, a sender of any bytes. */
import { Client, Metadata, Server, ServerCredentials, credentials } from "@grpc/grpc-js";
import type { ClientDuplexStream, ServiceError, UntypedServiceImplementation } from "@grpc/grpc-js";
import { silentLog } from "../../src/base/log";
import { RaftServiceService } from "../../src/generated/muster/raft/v1/raft_service";
import type { InstallSnapshotResponse } from "../../src/generated/muster/raft/v1/raft_service";
import { EMPTY_BYTES, EntryType, MessageType, NO_NODE } from "../../src/raft/index";
import type { Entry, Message, NodeId } from "../../src/raft/index";
import { fromGrpcFailure } from "../../src/rpc/grpc_status";
import type { GrpcFailure } from "../../src/rpc/grpc_status";
import type { RpcError } from "../../src/rpc/rpc_error";
import { dial } from "../../src/transport/dial";
import type { ExchangeCall, ExchangeHandle } from "../../src/transport/exchange_acceptor";
import { GrpcTransport } from "../../src/transport/grpc_transport";
import type { GrpcTransportOptions } from "../../src/transport/grpc_transport";
import type { HandshakeCheck, Self } from "../../src/transport/handshake";
import { RaftStreams } from "../../src/transport/raft_streams";
import type { SnapshotCall } from "../../src/transport/snapshot_receiver";
import type { StreamGate } from "../../src/transport/stream_gate";
import type { TransportEvents } from "../../src/transport/transport";
import { ManualClock } from "../base/support/manual_clock";
import { settle } from "../base/support/until";

export { settle, until } from "../base/support/until";

export const CLUSTER_ID = 0xc1n;

/** The reason of an error that the library gave; null without one of ours. */
export function reasonOf(error: GrpcFailure): string | null {
  return fromGrpcFailure(error).reason;
}

export function message(fields: Partial<Message>): Message {
  return {
    type: MessageType.Heartbeat,
    to: 2n,
    from: 1n,
    term: 5,
    logTerm: 0,
    index: 0,
    entries: [],
    commit: 0,
    vote: NO_NODE,
    snapshot: null,
    reject: false,
    rejectHint: 0,
    context: 0n,
    forced: false,
    responses: [],
    ...fields,
  };
}

export function entry(index: number, term: number, data: Uint8Array = EMPTY_BYTES): Entry {
  return { index, term, type: EntryType.Normal, data, confChange: null };
}

/** An append of one entry with `bytes` of data. */
export function append(bytes: number, fields: Partial<Message> = {}): Message {
  const entries = [entry(8, 5, Buffer.alloc(bytes, 0xab))];
  return message({ type: MessageType.Append, index: 7, logTerm: 4, entries, ...fields });
}

export function snapshotMessage(data: Uint8Array, fields: Partial<Message> = {}): Message {
  const confState = {
    voters: [1n, 2n],
    learners: [3n],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  const meta = { index: 100, term: 4, confState };
  return message({ type: MessageType.Snapshot, snapshot: { meta, data }, ...fields });
}

export function selfOf(memberId: NodeId, port = 1): Self {
  const instanceId = Buffer.alloc(16, Number(memberId));
  return { clusterId: CLUSTER_ID, memberId, instanceId, peerUrl: `http://127.0.0.1:${port}` };
}

/** Handlers in place of RaftStreams' own, for a receiver that behaves otherwise. */
export interface StreamHandlers {
  exchange(call: ExchangeCall): void;
  installSnapshot(
    call: SnapshotCall,
    answer: (error: unknown, answer?: InstallSnapshotResponse) => void,
  ): void;
}

/** The set in which RaftStreams keeps its open streams; it notes each one that comes and that goes. */
class WatchedStreams extends Set<ExchangeHandle> {
  constructor(
    private readonly opened: ExchangeHandle[],
    private readonly closed: NodeId[],
  ) {
    super();
  }

  override add(handle: ExchangeHandle): this {
    this.opened.push(handle);
    return super.add(handle);
  }

  override delete(handle: ExchangeHandle): boolean {
    this.closed.push(handle.from);
    return super.delete(handle);
  }
}

/** A member's receiving side on a real port: RaftStreams with a gate that keeps what it got. */
export class Receiver {
  readonly messages: Message[] = [];
  readonly batchLengths: number[] = [];
  /** What RaftStreams reported as refused: messages, requests and snapshots. */
  readonly garbage: { from: NodeId; problem: string }[] = [];
  /** "member revision digest" of each. */
  readonly digests: string[] = [];
  /** The senders of the streams that ended; NO_NODE for one whose handshake was not accepted. */
  readonly closed: NodeId[] = [];
  /** The senders of accepted streams and of whole snapshots. */
  readonly accepted: NodeId[] = [];
  readonly disks: string[] = [];
  readonly handles: ExchangeHandle[] = [];
  readonly snapshots: Message[] = [];
  readonly clock = new ManualClock();
  readonly streams: RaftStreams;
  check: HandshakeCheck = () => null;
  checkSnapshot: HandshakeCheck = (handshake) => this.check(handshake);
  expelled: (id: NodeId) => RpcError | null = () => null;
  /** False: this member waits to join. */
  hasJoined = true;
  port = 0;
  private server = new Server();

  constructor(readonly memberId: NodeId) {
    const gate = this.gate();
    this.streams = new RaftStreams({
      gate: () => (this.hasJoined ? gate : null),
      clock: this.clock,
      defer: setImmediate,
    });
    const open = new WatchedStreams(this.handles, this.closed);
    // Which streams are open is seen only from inside; a stream that is not forgotten would be a leak.
    Object.defineProperty(this.streams, "open", { value: open });
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(overrides: Partial<StreamHandlers> = {}): Promise<this> {
    this.server = new Server({
      "grpc.enable_channelz": 0,
      "grpc.max_receive_message_length": 4 * 1024 * 1024,
    });
    const { server } = this;
    const addService = server.addService.bind(server);
    server.addService = (definition, handlers) => {
      addService(definition, { ...handlers, ...(overrides as UntypedServiceImplementation) });
    };
    this.streams.addTo(server);
    this.port = await new Promise<number>((resolve, reject) => {
      const address = `127.0.0.1:${this.port}`;
      server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
        if (error === null) resolve(port);
        else reject(error);
      });
    });
    return this;
  }

  async stop(): Promise<void> {
    this.streams.stop();
    await new Promise<void>((resolve) => {
      const force = setTimeout(() => {
        this.server.forceShutdown();
      }, 500);
      this.server.tryShutdown(() => {
        clearTimeout(force);
        resolve();
      });
    });
  }

  /** Ends the open stream of `id` as RaftStreams does when the gate does not let it talk any more. */
  expel(id: NodeId, refusal: RpcError): void {
    this.expelled = (other) => (other === id ? refusal : null);
    this.streams.endExpelled();
    this.expelled = () => null;
  }

  private gate(): StreamGate {
    return {
      memberId: this.memberId,
      check: (handshake) => this.check(handshake),
      checkSnapshot: (handshake) => this.checkSnapshot(handshake),
      expelled: (id) => this.expelled(id),
      accepted: (handshake) => this.accepted.push(handshake.memberId),
      receive: (from, messages) => {
        if (messages.some((received) => received.from !== from)) throw new Error("not from its sender");
        if (messages[0]?.type === MessageType.Snapshot) {
          this.snapshots.push(...messages);
        } else {
          this.batchLengths.push(messages.length);
          this.messages.push(...messages);
        }
      },
      digest: (from, { revision, digest }) =>
        this.digests.push(`${String(from)} ${revision} ${Buffer.from(digest).toString("hex")}`),
      refused: (from, problem) => this.garbage.push({ from, problem }),
      diskFull: (from, full) => this.disks.push(`${String(from)} ${full ? "full" : "has space"}`),
    };
  }
}

/** A member's sending side, with the events it got. */
export class Sender implements TransportEvents {
  readonly unreachable: NodeId[] = [];
  readonly snapshotResults: { id: NodeId; delivered: boolean }[] = [];
  readonly refused: { id: NodeId; reason: string; text: string }[] = [];
  readonly warnings: string[] = [];
  readonly clock = new ManualClock();
  readonly transport: GrpcTransport;

  constructor(memberId: NodeId, overrides: Partial<GrpcTransportOptions> = {}) {
    this.transport = new GrpcTransport({
      self: selfOf(memberId),
      dial,
      clock: this.clock,
      defer: setImmediate,
      random: { below: () => 0 },
      events: this,
      maxMessageBytes: 4 * 1024 * 1024,
      log: { ...silentLog, warn: (_fields, text) => this.warnings.push(text) },
      ...overrides,
    });
  }

  onUnreachable(id: NodeId): void {
    this.unreachable.push(id);
  }

  onSnapshotResult(id: NodeId, delivered: boolean): void {
    this.snapshotResults.push({ id, delivered });
  }

  onRefused(id: NodeId, reason: string, text: string): void {
    this.refused.push({ id, reason, text });
  }

  state(id: NodeId): string {
    return this.transport.stats(id)?.state ?? "none";
  }

  /** Advances this side's clock in small steps until `condition` holds. */
  async untilRetried(condition: () => boolean): Promise<void> {
    while (!condition()) {
      // Time stands still while an attempt is on its way, or its time limit would run out.
      if (!condition() && this.clock.timerCount > 0 && !this.isConnecting()) this.clock.advance(10);
      await settle(2);
    }
  }

  private isConnecting(): boolean {
    return [1n, 2n, 3n].some((id) => this.state(id) === "connecting");
  }
}

/** The members of one test file; `stopAll` belongs into its afterEach. */
export class Members {
  private readonly receivers: Receiver[] = [];
  private readonly senders: Sender[] = [];

  async receiver(memberId: NodeId, overrides: Partial<StreamHandlers> = {}): Promise<Receiver> {
    const started = await new Receiver(memberId).start(overrides);
    this.receivers.push(started);
    return started;
  }

  sender(memberId: NodeId, overrides: Partial<GrpcTransportOptions> = {}): Sender {
    const started = new Sender(memberId, overrides);
    this.senders.push(started);
    return started;
  }

  async stopAll(): Promise<void> {
    for (const each of this.senders.splice(0)) each.transport.stop();
    for (const each of this.receivers.splice(0)) await each.stop();
  }
}

/** A sender that does not keep to the protocol: it sends any bytes, and notes how its stream ended. */
export class RawSender {
  private readonly client: Client;
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  readonly answers: Buffer[] = [];
  /** How the call ended: the error of a refusal, null for OK. */
  readonly ended: Promise<ServiceError | null>;
  isOver = false;

  constructor(port: number) {
    const asIs = (bytes: Buffer): Buffer => bytes;
    this.client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    this.stream = this.client.makeBidiStreamRequest(
      RaftServiceService.exchange.path,
      asIs,
      asIs,
      new Metadata(),
    );
    this.stream.on("data", (answer: Buffer) => this.answers.push(answer));
    this.ended = new Promise((resolve) => {
      this.stream.on("error", resolve);
      this.stream.on("status", () => {
        this.isOver = true;
        resolve(null);
      });
    });
  }

  close(): void {
    this.stream.cancel();
    this.client.close();
  }
}
