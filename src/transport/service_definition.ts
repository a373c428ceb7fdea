/**
 * muster.raft.v1.RaftService as this product serves and calls it: the generated definition with two changes.
 *
 * Requests that do not decode become values (Garbage) instead of exceptions, so that the handler answers them with a
 * reason and counts them; the library would answer INTERNAL and tell nobody. And what is a Buffer already passes the
 * serializers as it is, so that a batch is encoded once, by our own encoder.
 */
import { Client, Metadata } from "@grpc/grpc-js";
import type {
  CallOptions,
  ChannelCredentials,
  ChannelOptions,
  ClientDuplexStream,
  ClientUnaryCall,
  ClientWritableStream,
  ServiceError,
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleUnaryCall,
} from "@grpc/grpc-js";
import { RaftServiceService } from "../generated/muster/raft/v1/raft_service";
import type {
  ExchangeRequest,
  ExchangeResponse,
  HelloRequest,
  HelloResponse,
  InstallSnapshotRequest,
  InstallSnapshotResponse,
  PublishRequest,
  PublishResponse,
} from "../generated/muster/raft/v1/raft_service";

/** A request that did not decode. */
export class Garbage {
  constructor(
    /** What the decoder said. */
    readonly problem: string,
  ) {}
}

/** A request as it arrives: decoded, or not decodable. */
export type Incoming<T> = T | Garbage;

/** A deserializer that never throws. */
export function tolerant<T>(decode: (bytes: Buffer) => T): (bytes: Buffer) => Incoming<T> {
  return (bytes) => {
    try {
      return decode(bytes);
    } catch (error) {
      return new Garbage(error instanceof Error ? error.message : String(error));
    }
  };
}

/** A serializer that lets through what is encoded already. */
export function passing<T>(encode: (value: T) => Buffer): (value: T | Buffer) => Buffer {
  return (value) => (Buffer.isBuffer(value) ? value : encode(value));
}

const { exchange, installSnapshot, publish, hello } = RaftServiceService;

/** What a server registers; its handlers are RaftServiceHandlers. */
export const raftServiceDefinition = {
  exchange: {
    ...exchange,
    requestSerialize: passing(exchange.requestSerialize),
    requestDeserialize: tolerant(exchange.requestDeserialize),
    responseSerialize: passing(exchange.responseSerialize),
  },
  installSnapshot: {
    ...installSnapshot,
    requestSerialize: passing(installSnapshot.requestSerialize),
    requestDeserialize: tolerant(installSnapshot.requestDeserialize),
    responseSerialize: passing(installSnapshot.responseSerialize),
  },
  publish: {
    ...publish,
    requestDeserialize: tolerant(publish.requestDeserialize),
    responseSerialize: passing(publish.responseSerialize),
  },
  hello: {
    ...hello,
    requestDeserialize: tolerant(hello.requestDeserialize),
    responseSerialize: passing(hello.responseSerialize),
  },
} as const;

/** The handlers that fit raftServiceDefinition. A type, not an interface: grpc-js asks for an index signature. */
export type RaftServiceHandlers = {
  exchange: handleBidiStreamingCall<Incoming<ExchangeRequest>, ExchangeResponse>;
  installSnapshot: handleClientStreamingCall<Incoming<InstallSnapshotRequest>, InstallSnapshotResponse>;
  publish: handleUnaryCall<Incoming<PublishRequest>, PublishResponse>;
  hello: handleUnaryCall<Incoming<HelloRequest>, HelloResponse>;
};

/** Called once with the answer of a call. */
export type AnswerCallback<T> = (error: ServiceError | null, response?: T) => void;

/**
 * Options of a channel to a peer. Reconnecting is ours (peer.ts), on the injected clock: one channel is one attempt.
 * Keepalive finds a peer that vanished without closing its connection, long before TCP gives up.
 */
const PEER_CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_retries": 0,
  "grpc.enable_channelz": 0,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.keepalive_time_ms": 2000,
  "grpc.keepalive_timeout_ms": 3000,
  "grpc.keepalive_permit_without_calls": 1,
};

/** One channel to one member's peer listener. */
export class RaftClient {
  readonly #client: Client;

  constructor(target: string, credentials: ChannelCredentials, options: ChannelOptions) {
    this.#client = new Client(target, credentials, options);
  }

  /** Opens a stream of batches; a Buffer is an encoded ExchangeRequest. */
  exchange(): ClientDuplexStream<ExchangeRequest | Buffer, ExchangeResponse> {
    const { path, requestSerialize, responseDeserialize } = raftServiceDefinition.exchange;
    return this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  }

  /** Opens a call that sends one snapshot. */
  installSnapshot(
    done: AnswerCallback<InstallSnapshotResponse>,
  ): ClientWritableStream<InstallSnapshotRequest | Buffer> {
    const { path, requestSerialize, responseDeserialize } = raftServiceDefinition.installSnapshot;
    return this.#client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, done);
  }

  publish(
    request: PublishRequest,
    options: CallOptions,
    done: AnswerCallback<PublishResponse>,
  ): ClientUnaryCall {
    const { path, requestSerialize, responseDeserialize } = raftServiceDefinition.publish;
    const metadata = new Metadata();
    return this.#client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      options,
      done,
    );
  }

  hello(request: HelloRequest, options: CallOptions, done: AnswerCallback<HelloResponse>): ClientUnaryCall {
    const { path, requestSerialize, responseDeserialize } = raftServiceDefinition.hello;
    const metadata = new Metadata();
    return this.#client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      options,
      done,
    );
  }

  /** Closes the channel. Calls that are open go on until they end or are cancelled. */
  close(): void {
    this.#client.close();
  }
}

/**
 * The gRPC target of a peer URL: its host and port.
 *
 * @throws Error when `url` is not an http or https URL with a host
 */
export function dialTarget(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || parsed.hostname === "" || !["http:", "https:"].includes(parsed.protocol)) {
    throw new Error(`not a peer URL: ${JSON.stringify(url)}`);
  }
  const port = parsed.port === "" ? (parsed.protocol === "https:" ? "443" : "80") : parsed.port;
  return `dns:${parsed.hostname}:${port}`;
}

/**
 * A channel to the peer listener at `url`. Nothing is dialled before the first call.
 *
 * @param options added to (and over) the options of every peer channel
 * @throws Error when `url` is not a peer URL
 */
export function createRaftClient(
  url: string,
  credentials: ChannelCredentials,
  options: ChannelOptions = {},
): RaftClient {
  return new RaftClient(dialTarget(url), credentials, { ...PEER_CHANNEL_OPTIONS, ...options });
}
