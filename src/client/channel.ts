/**
 * One endpoint and its gRPC channel: makes a single attempt of a call. Retries are the caller's business
 * (caller.ts).
 */
import { credentials as GrpcCredentials, connectivityState, Metadata, status } from "@grpc/grpc-js";
import type {
  CallOptions as GrpcCallOptions,
  ChannelCredentials,
  ClientOptions,
  ClientUnaryCall,
  ServiceError,
} from "@grpc/grpc-js";
import { MaintenanceServiceClient } from "../generated/muster/v1/maintenance_service";
import { MembershipServiceClient } from "../generated/muster/v1/membership_service";
import type { Endpoint } from "./endpoints";
import { fromServiceError, MusterError } from "./errors";
import { receiveSnapshot } from "./snapshot";
import type { ReceivedSnapshot, SnapshotSink } from "./snapshot";

/**
 * How long one attempt waits for a connection. An address that drops packets must not use up the caller's
 * time.
 */
const CONNECT_TIMEOUT_MS = 2000;

const CHANNEL_OPTIONS: ClientOptions = {
  "grpc.initial_reconnect_backoff_ms": 100,
  // The default of two minutes would keep a client from a member that has long been back.
  "grpc.max_reconnect_backoff_ms": 1000,
  // Retries are ours: grpc-js would repeat a write without regard to its deadline's division.
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  // Members are dialled as they are named, also on loopback and with a proxy in the environment.
  "grpc.enable_http_proxy": 0,
  // A connection whose peer froze is found after three seconds, not at the caller's deadline.
  "grpc.keepalive_time_ms": 2000,
  "grpc.keepalive_timeout_ms": 1000,
  "grpc.enable_channelz": 0,
};

/** A unary method of the generated stub, its overloads reduced to the one used here. */
export type Unary<Req, Res> = (
  stub: MembershipServiceClient,
  request: Req,
  metadata: Metadata,
  options: Partial<GrpcCallOptions>,
  callback: (error: ServiceError | null, response: Res) => void,
) => ClientUnaryCall;

/** One attempt. */
export interface Attempt {
  /** Milliseconds of real time that the attempt may take. */
  readonly timeoutMs: number;
  readonly requestId: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** A channel to one address. Connects when first used; close() ends it and the calls on it. */
export class EndpointChannel {
  readonly authority: string;
  private readonly stub: MembershipServiceClient;
  private readonly maintenance: MaintenanceServiceClient;

  constructor(
    endpoint: Endpoint,
    credentials: ChannelCredentials | undefined,
    options: ClientOptions | undefined,
  ) {
    this.authority = endpoint.authority;
    const chosen =
      credentials ?? (endpoint.tls ? GrpcCredentials.createSsl() : GrpcCredentials.createInsecure());
    this.stub = new MembershipServiceClient(endpoint.target, chosen, { ...CHANNEL_OPTIONS, ...options });
    this.maintenance = new MaintenanceServiceClient(endpoint.target, chosen, {
      channelOverride: this.stub.getChannel(),
    });
  }

  /** @throws MusterError only */
  async unary<Req, Res>(method: Unary<Req, Res>, request: Req, attempt: Attempt): Promise<Res> {
    const deadlineMs = await this.dial(attempt);
    return new Promise((resolve, reject) => {
      const { signal } = attempt;
      const abort = (): void => {
        call.cancel();
      };
      const call = method(this.stub, request, new Metadata(), { deadline: deadlineMs }, (error, response) => {
        signal?.removeEventListener("abort", abort);
        if (error === null) resolve(response);
        else reject(fromServiceError(error, this.authority, attempt.requestId));
      });
      if (signal?.aborted === true) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Receives the state of the cluster. @throws MusterError, or what the sink throws */
  async saveSnapshot(sink: SnapshotSink, attempt: Attempt): Promise<ReceivedSnapshot> {
    const deadlineMs = await this.dial(attempt);
    const call = this.maintenance.saveSnapshot({}, new Metadata(), { deadline: deadlineMs });
    return receiveSnapshot(call, sink, this.authority, attempt.signal);
  }

  close(): void {
    this.stub.close();
  }

  /** Waits for a connection. @returns the attempt's deadline, epoch milliseconds @throws MusterError */
  private async dial(attempt: Attempt): Promise<number> {
    const deadlineMs = Date.now() + attempt.timeoutMs;
    if (await this.connected(Math.min(deadlineMs, Date.now() + CONNECT_TIMEOUT_MS), attempt.signal)) {
      return deadlineMs;
    }
    throw new MusterError({
      code: status.UNAVAILABLE,
      message: `no connection to ${this.authority}: not established in time`,
      endpoint: this.authority,
      requestId: attempt.requestId,
      sent: false,
    });
  }

  /**
   * Waits until the channel is connected, has failed to connect, or `until` (epoch milliseconds) has passed;
   * false only for the last. After a failure the call is made all the same: it fails at once and says why.
   */
  private async connected(until: number, signal: AbortSignal | undefined): Promise<boolean> {
    const channel = this.stub.getChannel();
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state !== connectivityState.IDLE && state !== connectivityState.CONNECTING) return true;
      if (signal?.aborted === true) return true;
      const changed = await new Promise<boolean>((resolve) => {
        const abort = (): void => {
          resolve(true);
        };
        signal?.addEventListener("abort", abort, { once: true });
        channel.watchConnectivityState(state, until, (error) => {
          signal?.removeEventListener("abort", abort);
          resolve(error === undefined);
        });
      });
      if (!changed) return false;
    }
  }
}
