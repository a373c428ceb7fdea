/**
 * The gRPC channel to one endpoint. Makes single attempts; caller.ts repeats them.
 *
 * Reads the real time, because the deadlines of grpc-js are moments of the system clock. No other file of the client
 * does, except for `systemClock`.
 */
import { Client, connectivityState, credentials as GrpcCredentials, Metadata, status } from "@grpc/grpc-js";
import type { ChannelCredentials, ClientOptions, ServiceError } from "@grpc/grpc-js";
import type { Attempt, Channel, Method, Readiness } from "./attempt";
import type { Endpoint } from "./endpoints";
import { fromServiceError, fromStatus } from "./errors";
import type { MusterError } from "./errors";

/**
 * Longest wait of one attempt for a connection, so that an address that drops packets does not use up the time that
 * other endpoints need. Several round trips of a slow network fit in.
 */
const CONNECT_TIMEOUT_MS = 2000;

const CHANNEL_OPTIONS: ClientOptions = {
  // First pause after a failed connection: short, because a member that restarts is back within moments.
  "grpc.initial_reconnect_backoff_ms": 100,
  // Longest such pause. The default of two minutes would keep a client away long after the member is back.
  "grpc.max_reconnect_backoff_ms": 1000,
  // Caller repeats calls; a second retry loop inside grpc-js would not keep to its division of the time.
  "grpc.enable_retries": 0,
  // No lookup of service configurations in DNS: the settings of a channel are those given here.
  "grpc.service_config_disable_resolution": 1,
  // Members are reached directly, even when the environment names a proxy.
  "grpc.enable_http_proxy": 0,
  // A peer that froze is noticed after three seconds, and not only at the caller's deadline.
  "grpc.keepalive_time_ms": 2000,
  "grpc.keepalive_timeout_ms": 1000,
  // The records are for a diagnostic service that a client does not offer.
  "grpc.enable_channelz": 0,
};

/** A channel to one address. Connects when first used; close() ends it and the calls on it. */
export class EndpointChannel implements Channel {
  readonly authority: string;
  private readonly client: Client;

  /**
   * @param credentials undefined: TLS for an https:// endpoint, none for the others
   * @param options further channel options; they win over those of this file
   */
  constructor(
    endpoint: Endpoint,
    credentials: ChannelCredentials | undefined,
    options: ClientOptions | undefined,
  ) {
    this.authority = endpoint.authority;
    const chosen =
      credentials ?? (endpoint.tls ? GrpcCredentials.createSsl() : GrpcCredentials.createInsecure());
    this.client = new Client(endpoint.target, chosen, { ...CHANNEL_OPTIONS, ...options });
  }

  async ready(attempt: Attempt): Promise<Readiness> {
    const until = Date.now() + Math.min(attempt.timeoutMs, CONNECT_TIMEOUT_MS);
    if (!(await this.connected(until, attempt.signal))) return this.notConnected(attempt);
    return this.client.getChannel().getConnectivityState(false) === connectivityState.READY
      ? "connected"
      : "failed";
  }

  async unary<Req, Res>(method: Method<Req, Res>, request: Req, attempt: Attempt): Promise<Res> {
    const deadline = await this.connect(attempt);
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const abort = (): void => {
        call.cancel();
      };
      const done = (error: ServiceError | null, response?: Res): void => {
        attempt.signal?.removeEventListener("abort", abort);
        if (error !== null) reject(fromServiceError(error, this.authority, attempt.requestId));
        // Without an error grpc-js passes the response.
        else resolve(response as Res);
      };
      const call = this.client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        headers(attempt),
        { deadline },
        done,
      );
      onAbort(attempt.signal, abort);
    });
  }

  async *serverStream<Req, Res>(
    method: Method<Req, Res>,
    request: Req,
    attempt: Attempt,
  ): AsyncGenerator<Res, void, undefined> {
    const deadline = await this.connect(attempt);
    const { path, requestSerialize, responseDeserialize } = method;
    const call = this.client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      headers(attempt),
      { deadline },
    );
    // Cancelling emits an error after the loop has ended, and an error event without a listener ends the process.
    call.on("error", () => undefined);
    const abort = (): void => {
      call.cancel();
    };
    onAbort(attempt.signal, abort);
    try {
      for await (const message of call) yield message as Res;
    } catch (error) {
      throw isServiceError(error) ? fromServiceError(error, this.authority, attempt.requestId) : error;
    } finally {
      attempt.signal?.removeEventListener("abort", abort);
      call.cancel();
    }
  }

  close(): void {
    this.client.close();
  }

  /** Waits for a connection. @returns the attempt's deadline, epoch milliseconds @throws MusterError */
  private async connect(attempt: Attempt): Promise<number> {
    const now = Date.now();
    const deadlineMs = now + attempt.timeoutMs;
    if (await this.connected(Math.min(deadlineMs, now + CONNECT_TIMEOUT_MS), attempt.signal)) {
      return deadlineMs;
    }
    throw this.notConnected(attempt);
  }

  private notConnected(attempt: Attempt): MusterError {
    const details = "not established in time";
    const received = { code: status.UNAVAILABLE, details, detailBytes: undefined };
    return fromStatus(received, this.authority, attempt.requestId, false);
  }

  /**
   * Waits until the channel is connected, has failed to connect, or `until` (epoch milliseconds) has passed. False
   * only when the time has passed: after a failure the call is made anyway, because it fails at once with the cause.
   */
  private async connected(until: number, signal: AbortSignal | undefined): Promise<boolean> {
    const channel = this.client.getChannel();
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

/** The header by which a member learns that an earlier attempt may have been made. */
const ATTEMPT_KEY = "muster-attempt";

function headers({ number }: Attempt): Metadata {
  const metadata = new Metadata();
  if (number > 1) metadata.set(ATTEMPT_KEY, String(number));
  return metadata;
}

/** Calls `abort` when the signal is aborted, or at once when it already is. */
function onAbort(signal: AbortSignal | undefined, abort: () => void): void {
  if (signal?.aborted === true) abort();
  else signal?.addEventListener("abort", abort, { once: true });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "metadata" in error;
}
