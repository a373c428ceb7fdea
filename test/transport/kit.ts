/** What the transport's tests share: a clock that is moved by hand, messages, and a member's receiving side. */
import { Client, Metadata, Server, ServerCredentials, credentials } from "@grpc/grpc-js";
import type { ClientDuplexStream, ServiceError, sendUnaryData } from "@grpc/grpc-js";
import type { InstallSnapshotResponse } from "../../src/generated/muster/raft/v1/raft_service";
import { EMPTY_BYTES, EntryType, MessageType, NO_NODE } from "../../src/raft/index";
import type { Entry, Message, NodeId } from "../../src/raft/index";
import type { Clock, Timer } from "../../src/base/clock";
import { acceptExchange } from "../../src/transport/exchange_acceptor";
import type { ExchangeHandle } from "../../src/transport/exchange_acceptor";
import { GrpcTransport } from "../../src/transport/grpc_transport";
import type { GrpcTransportOptions } from "../../src/transport/grpc_transport";
import type { HandshakeCheck, Self } from "../../src/transport/handshake";
import { raftServiceDefinition } from "../../src/transport/service_definition";
import type { RaftServiceHandlers } from "../../src/transport/service_definition";
import { SnapshotRefused, receiveSnapshot } from "../../src/transport/snapshot_stream";
import type { SnapshotCall } from "../../src/transport/snapshot_stream";
import { statusOfRefusal } from "../../src/transport/status_details";
import type { TransportEvents } from "../../src/transport/transport";

export const CLUSTER_ID = 0xc1n;

/** Resolves once `condition` holds; a condition that never does runs into the test's own time limit. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets everything that is ready in the event loop happen. */
export async function settle(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Time that passes only when told. */
export class FakeClock implements Clock {
  #nowMs = 0;
  readonly #timers = new Set<{ readonly atMs: number; readonly fn: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  setTimeout(fn: () => void, ms: number): Timer {
    const timer = { atMs: this.#nowMs + ms, fn };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Moves on by `ms`, firing what falls due, in order. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.fn();
    }
    this.#nowMs = endMs;
  }
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

/** A member's receiving side on a real port, which keeps what it got. */
export class Receiver {
  readonly messages: Message[] = [];
  readonly batchLengths: number[] = [];
  readonly garbage: { from: NodeId; problem: string }[] = [];
  readonly closed: NodeId[] = [];
  readonly accepted: NodeId[] = [];
  readonly handles: ExchangeHandle[] = [];
  readonly snapshots: Message[] = [];
  readonly snapshotProblems: string[] = [];
  readonly clock = new FakeClock();
  check: HandshakeCheck = () => null;
  #server = new Server();
  port = 0;

  constructor(readonly memberId: NodeId) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(overrides: Partial<RaftServiceHandlers> = {}): Promise<this> {
    this.#server = new Server({
      "grpc.enable_channelz": 0,
      "grpc.max_receive_message_length": 4 * 1024 * 1024,
    });
    this.#server.addService(raftServiceDefinition, { ...this.#handlers(), ...overrides });
    this.port = await new Promise<number>((resolve, reject) => {
      const address = `127.0.0.1:${this.port}`;
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
        if (error === null) resolve(port);
        else reject(error);
      });
    });
    return this;
  }

  async stop(): Promise<void> {
    for (const handle of this.handles.splice(0)) handle.end(null);
    await new Promise<void>((resolve) => {
      const force = setTimeout(() => {
        this.#server.forceShutdown();
      }, 500);
      this.#server.tryShutdown(() => {
        clearTimeout(force);
        resolve();
      });
    });
  }

  #handlers(): RaftServiceHandlers {
    return {
      exchange: (call) => {
        const handle = acceptExchange(call, {
          memberId: this.memberId,
          clock: this.clock,
          check: (handshake) => this.check(handshake),
          onAccepted: (handshake) => this.accepted.push(handshake.memberId),
          onMessages: (_from, messages) => {
            this.batchLengths.push(messages.length);
            this.messages.push(...messages);
          },
          onGarbage: (from, problem) => this.garbage.push({ from, problem }),
          onClosed: (from) => this.closed.push(from),
        });
        this.handles.push(handle);
      },
      installSnapshot: (call, callback) => void this.#installSnapshot(call, callback),
      publish: (_call, callback) => {
        callback(null, { revision: 1 });
      },
      hello: (_call, callback) => {
        callback(null, { name: "n", clusterId: CLUSTER_ID, memberId: this.memberId, waitingToJoin: false });
      },
    };
  }

  async #installSnapshot(
    call: SnapshotCall,
    callback: sendUnaryData<InstallSnapshotResponse>,
  ): Promise<void> {
    try {
      const check: HandshakeCheck = (handshake) => this.check(handshake);
      const limits = { memberId: this.memberId, clock: this.clock, check, sizeBytesMax: 8 * 1024 * 1024 };
      this.snapshots.push((await receiveSnapshot(call, limits)).message);
      callback(null, {});
    } catch (error) {
      if (!(error instanceof SnapshotRefused)) throw error;
      this.snapshotProblems.push(error.message);
      callback(statusOfRefusal(error.refusal));
    }
  }
}

/** A member's sending side, with what it was told. */
export class Sender implements TransportEvents {
  readonly unreachable: NodeId[] = [];
  readonly snapshotResults: { id: NodeId; delivered: boolean }[] = [];
  readonly refused: { id: NodeId; reason: string; text: string }[] = [];
  readonly warnings: string[] = [];
  readonly clock = new FakeClock();
  readonly transport: GrpcTransport;

  constructor(memberId: NodeId, overrides: Partial<GrpcTransportOptions> = {}) {
    this.transport = new GrpcTransport({
      self: selfOf(memberId),
      credentialsFor: () => credentials.createInsecure(),
      clock: this.clock,
      random: { below: () => 0 },
      events: this,
      maxMessageBytes: 4 * 1024 * 1024,
      log: {
        debug: () => undefined,
        info: () => undefined,
        warn: (_fields, text) => this.warnings.push(text),
      },
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
      if (!condition() && this.clock.timerCount > 0 && !this.#isConnecting()) this.clock.advance(10);
      await settle(2);
    }
  }

  #isConnecting(): boolean {
    return [1n, 2n, 3n].some((id) => this.state(id) === "connecting");
  }
}

/** The members of one test file; `stopAll` belongs into its afterEach. */
export class Members {
  readonly #receivers: Receiver[] = [];
  readonly #senders: Sender[] = [];

  async receiver(memberId: NodeId, overrides: Partial<RaftServiceHandlers> = {}): Promise<Receiver> {
    const started = await new Receiver(memberId).start(overrides);
    this.#receivers.push(started);
    return started;
  }

  sender(memberId: NodeId, overrides: Partial<GrpcTransportOptions> = {}): Sender {
    const started = new Sender(memberId, overrides);
    this.#senders.push(started);
    return started;
  }

  async stopAll(): Promise<void> {
    for (const each of this.#senders.splice(0)) each.transport.stop();
    for (const each of this.#receivers.splice(0)) await each.stop();
  }
}

/** A sender without manners: any bytes, over a stream that it keeps the end of. */
export class RawSender {
  readonly #client: Client;
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  readonly answers: Buffer[] = [];
  /** How the call ended: the error of a refusal, null for OK. */
  readonly ended: Promise<ServiceError | null>;
  isOver = false;

  constructor(port: number) {
    const asIs = (bytes: Buffer): Buffer => bytes;
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    this.stream = this.#client.makeBidiStreamRequest(
      raftServiceDefinition.exchange.path,
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
    this.#client.close();
  }
}
