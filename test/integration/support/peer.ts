/** A fake peer: streams with any handshake and any messages, and raw calls with any bytes. */
import { Client, Metadata, credentials, status } from "@grpc/grpc-js";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import type { Message as WireMessage } from "../../../src/generated/muster/raft/v1/raft";
import { Message } from "../../../src/generated/muster/raft/v1/raft";
import {
  Handshake,
  PublishRequest,
  RaftServiceClient,
} from "../../../src/generated/muster/raft/v1/raft_service";
import type {
  ExchangeRequest,
  ExchangeResponse,
  InstallSnapshotRequest,
} from "../../../src/generated/muster/raft/v1/raft_service";
import { callUnary, readError, until } from "./cluster";
import type { TestMember, WireError } from "./cluster";

const OPTIONS = { "grpc.use_local_subchannel_pool": 1 };

function hostOf(url: string): string {
  return new URL(url).host;
}

/** A handshake that `to` accepts, from a member that was never added. */
export function strangersHandshake(to: TestMember, overrides: Partial<Handshake> = {}): Handshake {
  const { replica } = to;
  return {
    ...Handshake.fromPartial({}),
    clusterId: replica.clusterId,
    memberId: 0xabcdefn,
    toMemberId: replica.id,
    instanceId: Buffer.alloc(16, 7),
    wireVersion: 1,
    peerUrl: "http://127.0.0.1:1",
    ...overrides,
  };
}

/** A message with the given fields; all others have their default values. */
export function wireMessage(fields: Partial<WireMessage>): WireMessage {
  return { ...Message.decode(Buffer.alloc(0)), ...fields };
}

/** One Exchange stream to a member. */
export class PeerStream {
  private readonly client: RaftServiceClient;
  private readonly stream: ClientDuplexStream<ExchangeRequest, ExchangeResponse>;
  /** Set when the call has ended; `error` is null for status OK. */
  private end: { readonly error: WireError | null } | null = null;
  accepted = false;

  constructor(
    readonly to: TestMember,
    readonly handshake: Handshake,
  ) {
    this.client = new RaftServiceClient(hostOf(to.config.peerUrl), credentials.createInsecure(), OPTIONS);
    this.stream = this.client.exchange();
    this.stream.on("data", () => {
      this.accepted = true;
    });
    this.stream.on("error", (error: ServiceError) => {
      this.end ??= { error: readError(error) };
    });
    this.stream.on("status", () => {
      this.end ??= { error: null };
    });
    this.stream.write({ handshake, messages: [], rosterDigest: undefined });
  }

  /** Waits until the handshake is answered. */
  async untilAccepted(): Promise<this> {
    await until("the handshake is accepted", () => this.accepted || this.end !== null);
    expect(this.end).toBeNull();
    return this;
  }

  get isOver(): boolean {
    return this.end !== null;
  }

  /** Waits until the other side ends the stream: with an error, or null. */
  async refused(): Promise<WireError | null> {
    await until("the stream ends", () => this.end !== null);
    this.close();
    return this.end?.error ?? null;
  }

  /** Sends messages from this stream's member to the member at the other end. */
  send(...messages: Partial<WireMessage>[]): void {
    const { memberId, toMemberId } = this.handshake;
    const wire = messages.map((fields) => wireMessage({ from: memberId, to: toMemberId, ...fields }));
    this.stream.write({ handshake: undefined, messages: wire, rosterDigest: undefined });
  }

  sendRequest(request: ExchangeRequest): void {
    this.stream.write(request);
  }

  close(): void {
    this.stream.cancel();
    this.client.close();
  }
}

let publishes = 0;

/** A publish call to a member's peer listener. It is valid except for the given fields. */
export async function publish(to: TestMember, fields: Partial<PublishRequest>): Promise<number> {
  const client = new RaftServiceClient(hostOf(to.config.peerUrl), credentials.createInsecure(), OPTIONS);
  const { replica } = to;
  try {
    const request: PublishRequest = {
      ...PublishRequest.fromPartial({}),
      memberId: replica.id,
      instanceId: Buffer.alloc(16, 7),
      adminUrls: [to.config.adminUrl],
      version: "0.1.0",
      clusterId: replica.clusterId,
      requestId: `publish-${String(++publishes)}-${replica.id.toString(16)}`,
      ...fields,
    };
    return (await callUnary(client.publish.bind(client), request)).revision;
  } finally {
    client.close();
  }
}

/** Sends one snapshot from an unknown member; settles with the refusal, or null when it was accepted. */
export async function sendSnapshot(
  to: TestMember,
  requests: InstallSnapshotRequest[],
): Promise<WireError | null> {
  const client = new RaftServiceClient(hostOf(to.config.peerUrl), credentials.createInsecure(), OPTIONS);
  try {
    return await new Promise((resolve) => {
      const stream = client.installSnapshot((error) => {
        resolve(error === null ? null : readError(error));
      });
      for (const request of requests) stream.write(request);
      stream.end();
    });
  } finally {
    client.close();
  }
}

/** A unary call with these bytes as its message, to any listener. Settles with the error, or null when there is none. */
export async function rawCall(url: string, path: string, bytes: Buffer): Promise<WireError | null> {
  const client = new Client(hostOf(url), credentials.createInsecure(), OPTIONS);
  const asIs = (value: Buffer): Buffer => value;
  try {
    return await new Promise((resolve) => {
      const options = { deadline: Date.now() + 10_000 };
      client.makeUnaryRequest(path, asIs, asIs, bytes, new Metadata(), options, (error) => {
        resolve(error === null ? null : readError(error));
      });
    });
  } finally {
    client.close();
  }
}

/** An Exchange stream with arbitrary bytes in place of encoded messages. */
export async function rawExchange(to: TestMember, chunks: Buffer[]): Promise<WireError | null> {
  const client = new Client(hostOf(to.config.peerUrl), credentials.createInsecure(), OPTIONS);
  const asIs = (value: Buffer): Buffer => value;
  try {
    return await new Promise((resolve) => {
      const stream = client.makeBidiStreamRequest(
        "/muster.raft.v1.RaftService/Exchange",
        asIs,
        asIs,
        new Metadata(),
      );
      stream.on("data", () => undefined);
      stream.on("error", (error: ServiceError) => {
        resolve(readError(error));
      });
      stream.on("status", ({ code }: { code: status }) => {
        if (code === status.OK) resolve(null);
      });
      for (const chunk of chunks) stream.write(chunk);
    });
  } finally {
    client.close();
  }
}
