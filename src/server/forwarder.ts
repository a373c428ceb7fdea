/**
 * Calls the leader on behalf of a caller: through the generated client stubs, on the leader's peer listener, on a
 * channel of its own apart from the Raft stream (mass cancellation of calls may cost the connection they travel on).
 *
 * One hop: the call carries `muster-forward: never`. A failure says whether the call can have reached the leader's log.
 */
import { Metadata, connectivityState, status } from "@grpc/grpc-js";
import type {
  CallOptions,
  ChannelCredentials,
  ChannelOptions,
  ClientUnaryCall,
  ServiceError,
} from "@grpc/grpc-js";
import { RaftServiceClient } from "../generated/muster/raft/v1/raft_service";
import { MembershipServiceClient } from "../generated/muster/v1/membership_service";
import { dialTarget } from "../transport/service_definition";
import { reasonOf } from "../transport/status_details";
import { CallCancelledError, FORWARD_KEY } from "./call";
import type { CallContext } from "./call";

/** The leader's answer was an error: it goes to the caller unchanged. */
export class PassedOnError extends Error {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
  constructor(
    error: ServiceError,
    /** An ErrorReason, or null when the error carries none. */
    readonly reason: string | null,
  ) {
    super(error.message);
    this.name = "PassedOnError";
    this.code = error.code;
    this.details = error.details;
    this.metadata = error.metadata;
  }
}

/** The stubs of one member's peer listener. */
export interface PeerStubs {
  readonly membership: MembershipServiceClient;
  readonly raft: RaftServiceClient;
}

/** Starts one call on a stub. */
export type Invoke<Res> = (
  stubs: PeerStubs,
  metadata: Metadata,
  options: Partial<CallOptions>,
  done: (error: ServiceError | null, response: Res) => void,
) => ClientUnaryCall;

export type ForwardResult<Res> =
  | { readonly kind: "answer"; readonly response: Res }
  /** An error of the leader's own; `reason` is null when it carries none of ours. */
  | { readonly kind: "error"; readonly error: ServiceError; readonly reason: string | null }
  /** The leader could not be reached: it has not seen the call. */
  | { readonly kind: "not-sent" }
  /** The call was sent and its answer lost. */
  | { readonly kind: "lost" };

const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_retries": 0,
  "grpc.enable_channelz": 0,
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.keepalive_time_ms": 2000,
  "grpc.keepalive_timeout_ms": 3000,
  // An answer lists every member; a request was already held to the server's own limit.
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
};

/**
 * Never copied: they belong to one connection or one call. content-length, which some clients send, counts the bytes of
 * the caller's message, and the forwarded one has others (a request_id); the leader's HTTP/2 layer would reset the call.
 */
const OWN_METADATA = new Set([
  "te",
  "content-type",
  "content-length",
  "content-encoding",
  "accept-encoding",
  "user-agent",
  "host",
  FORWARD_KEY,
]);

/** Codes of the library, and of what stands between two members, for a call whose fate is not known. */
const TRANSPORT_CODES: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.INTERNAL,
  status.CANCELLED,
  status.UNKNOWN,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
]);

interface Channel {
  readonly stubs: PeerStubs;
  lastUsedMs: number;
}

/** Channels to members that led long ago are closed after this time without a call. */
const IDLE_MS_MAX = 60_000;

export class Forwarder {
  private readonly channels = new Map<string, Channel>();

  constructor(
    private readonly credentialsFor: (url: string) => ChannelCredentials,
    private readonly now: () => number,
  ) {}

  /**
   * Calls the member at `url`.
   *
   * @param connectMs how long to wait for a connection before saying "not-sent"
   */
  async call<Res>(
    url: string,
    context: CallContext,
    connectMs: number,
    invoke: Invoke<Res>,
  ): Promise<ForwardResult<Res>> {
    const stubs = this.stubs(url);
    if (!(await this.connected(stubs, Math.min(connectMs, context.deadline.remainingMs()))))
      return { kind: "not-sent" };
    return new Promise<ForwardResult<Res>>((resolve, reject) => {
      const options = { deadline: Date.now() + context.deadline.remainingMs() };
      invoke(stubs, copyMetadata(context.metadata), options, (error, response) => {
        resolve(error === null ? { kind: "answer", response } : classify(error));
      });
      // The caller's cancellation ends its wait, not the forwarded call.
      context.onCancel(() => {
        reject(new CallCancelledError());
      });
    });
  }

  close(): void {
    for (const { stubs } of this.channels.values()) closeStubs(stubs);
    this.channels.clear();
  }

  private stubs(url: string): PeerStubs {
    const now = this.now();
    for (const [other, channel] of this.channels) {
      if (other === url || now - channel.lastUsedMs < IDLE_MS_MAX) continue;
      closeStubs(channel.stubs);
      this.channels.delete(other);
    }
    const known = this.channels.get(url);
    if (known !== undefined) {
      known.lastUsedMs = now;
      return known.stubs;
    }
    const membership = new MembershipServiceClient(
      dialTarget(url),
      this.credentialsFor(url),
      CHANNEL_OPTIONS,
    );
    const raft = new RaftServiceClient(dialTarget(url), this.credentialsFor(url), {
      channelOverride: membership.getChannel(),
    });
    const stubs = { membership, raft };
    this.channels.set(url, { stubs, lastUsedMs: now });
    return stubs;
  }

  private connected({ membership }: PeerStubs, timeoutMs: number): Promise<boolean> {
    if (membership.getChannel().getConnectivityState(true) === connectivityState.READY)
      return Promise.resolve(true);
    return new Promise((resolve) => {
      membership.waitForReady(Date.now() + timeoutMs, (error) => {
        resolve(error === undefined);
      });
    });
  }
}

function closeStubs({ membership }: PeerStubs): void {
  membership.close();
}

function classify(
  error: ServiceError,
): { kind: "lost" } | { kind: "error"; error: ServiceError; reason: string | null } {
  const reason = reasonOf(error)?.reason ?? null;
  if (reason === null && TRANSPORT_CODES.has(error.code)) return { kind: "lost" };
  return { kind: "error", error, reason };
}

function copyMetadata(from: Metadata): Metadata {
  const to = new Metadata();
  for (const key of Object.keys(from.getMap())) {
    if (key.startsWith("grpc-") || key.startsWith(":") || OWN_METADATA.has(key)) continue;
    for (const value of from.get(key)) to.add(key, value);
  }
  to.set(FORWARD_KEY, "never");
  return to;
}
