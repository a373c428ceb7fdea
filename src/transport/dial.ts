/**
 * Channels to the peer listeners of other members. Each purpose has its own channel (a stream, a snapshot, forwarded
 * calls, a one-off question), because HTTP/2 ends a whole connection on which too many calls are cancelled.
 */
import { Client, Metadata, connectivityState, credentials } from "@grpc/grpc-js";
import type { ChannelOptions, ClientDuplexStream, ClientWritableStream, ServiceError } from "@grpc/grpc-js";
import { addressOf } from "../base/address";
import { asBuffer } from "../base/bytes";
import { RaftServiceService } from "../generated/muster/raft/v1/raft_service";
import type {
  ExchangeRequest,
  ExchangeResponse,
  InstallSnapshotRequest,
  InstallSnapshotResponse,
} from "../generated/muster/raft/v1/raft_service";
import { encodeOrPass } from "../rpc/definition";

/**
 * One channel of a stream is one attempt: peer.ts decides on the injected clock when to try again, so the library's own
 * retries are off. Keepalive detects a peer that vanished without closing its connection after at most 5 s, long before
 * TCP does: with less, a busy peer would lose its stream; with more, a write that was forwarded to it waits longer.
 */
const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_retries": 0,
  "grpc.enable_channelz": 0,
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 1000,
  // A channel of forwarded calls lives long: a name that changed is resolved again at the next attempt to connect.
  "grpc.dns_min_time_between_resolutions_ms": 1000,
  "grpc.keepalive_time_ms": 2000,
  "grpc.keepalive_timeout_ms": 3000,
  "grpc.keepalive_permit_without_calls": 1,
  // An answer lists every member, and may be much larger than a request.
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
};

/** Opens a channel to the peer listener at `url`. @throws Error when the URL can't be dialled */
export type Dial = (url: string) => PeerChannel;

/** Called once, at the end of a call: with its error, or with null and its answer. */
type CallDone<T> = (error: ServiceError | null, response?: T) => void;

const { exchange, installSnapshot } = RaftServiceService;
const encodeExchange = encodeOrPass(exchange.requestSerialize);
const encodeSnapshotRequest = encodeOrPass(installSnapshot.requestSerialize);
/** The codec of messages that stay encoded. */
const unchanged = (bytes: Buffer): Buffer => bytes;

/** One channel to one member's peer listener. It connects at its first call, or when connected() is asked. */
export class PeerChannel {
  private readonly client: Client;

  /** @throws Error when `url` is not a peer URL */
  constructor(url: string, options: ChannelOptions = {}) {
    const channelCredentials = url.startsWith("https://")
      ? credentials.createSsl()
      : credentials.createInsecure();
    this.client = new Client(dialTarget(url), channelCredentials, { ...CHANNEL_OPTIONS, ...options });
  }

  /** Opens a stream of batches; a Buffer is an encoded ExchangeRequest. */
  exchange(): ClientDuplexStream<ExchangeRequest | Buffer, ExchangeResponse> {
    return this.client.makeBidiStreamRequest(exchange.path, encodeExchange, exchange.responseDeserialize);
  }

  /** Opens a call that sends one snapshot; a Buffer is an encoded InstallSnapshotRequest. */
  installSnapshot(
    done: CallDone<InstallSnapshotResponse>,
  ): ClientWritableStream<InstallSnapshotRequest | Buffer> {
    const { path, responseDeserialize } = installSnapshot;
    return this.client.makeClientStreamRequest(path, encodeSnapshotRequest, responseDeserialize, done);
  }

  /**
   * Makes a unary call. Request and answer stay encoded.
   *
   * @param deadlineMs when the call fails with DEADLINE_EXCEEDED, in milliseconds since 1970
   */
  unary(
    path: string,
    body: Uint8Array,
    headers: ReadonlyMap<string, string>,
    deadlineMs: number,
    done: CallDone<Buffer>,
  ): void {
    const metadata = new Metadata();
    for (const [key, value] of headers) metadata.set(key, value);
    withoutStack(() => {
      this.client.makeUnaryRequest(path, asBuffer, unchanged, body, metadata, { deadline: deadlineMs }, done);
    });
  }

  /** Settles with true once the channel is connected, and with false at `untilMs`, in milliseconds since 1970. */
  connected(untilMs: number): Promise<boolean> {
    if (this.client.getChannel().getConnectivityState(true) === connectivityState.READY)
      return Promise.resolve(true);
    return new Promise((resolve) => {
      this.client.waitForReady(untilMs, (error) => {
        resolve(error === undefined);
      });
    });
  }

  /** Closes the channel. Open calls go on until they end or are cancelled. */
  close(): void {
    this.client.close();
  }
}

/** Runs `call` while errors take no stack: the library makes one for each call, in case it fails, and that costs more than the rest. */
function withoutStack(call: () => void): void {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    call();
  } finally {
    Error.stackTraceLimit = limit;
  }
}

/** The product's Dial. */
export const dial: Dial = (url) => new PeerChannel(url);

/**
 * The gRPC target of a peer URL: its host and port.
 *
 * @throws Error when `url` is not a peer URL in normal form (base/address.ts)
 */
export function dialTarget(url: string): string {
  const address = addressOf(url);
  if (address === null) throw new Error(`not a peer URL: ${JSON.stringify(url)}`);
  return `dns:${address.host}:${address.port}`;
}
