/**
 * PeerCalls over gRPC. Forwarded calls share one channel per member, apart from the streams to that member; each ask()
 * has its own channel.
 *
 * Invariant: a call is reported as "retry" only when nothing of it was sent.
 */
import { status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { CALL_CANCELLED, FORWARD_KEY } from "../base/call";
import type { Call } from "../base/call";
import type { Clock } from "../base/clock";
import { RETRY, UNKNOWN, done, refusedBy } from "../base/outcome";
import type { Outcome } from "../base/outcome";
import { fromGrpcFailure } from "../rpc/grpc_status";
import type { Dial, PeerChannel } from "./dial";
import type { PeerCalls, PeerRequest } from "./peer_calls";

interface GrpcPeerCallsOptions {
  readonly dial: Dial;
  /** Measures how long channels are idle. */
  readonly clock: Clock;
  /** Milliseconds since 1970: the library takes deadlines on this scale. */
  readonly wallNow: () => number;
}

/**
 * Status codes that the library, or a proxy between two members, gives when a call failed on its way. Without a reason
 * of ours they do not say whether the other member has handled the call.
 */
const TRANSPORT_CODES: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.INTERNAL,
  status.CANCELLED,
  status.UNKNOWN,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
]);

interface SharedChannel {
  readonly channel: PeerChannel;
  /** When the last call on it began, on the clock's scale. */
  lastUsedMs: number;
}

/** A channel on which no call began for this long is closed: its member has probably stopped leading. */
const IDLE_MS_MAX = 60_000;
const NO_HEADERS: ReadonlyMap<string, string> = new Map();

export class GrpcPeerCalls implements PeerCalls {
  private closed = false;
  /** Channels for forwarded calls, by peer URL. */
  private readonly shared = new Map<string, SharedChannel>();

  constructor(private readonly options: GrpcPeerCallsOptions) {}

  call(url: string, request: PeerRequest, call: Call, connectMs: number): Promise<Outcome<Uint8Array>> {
    return new Promise((resolve, reject) => {
      const stopListening = call.onCancel(() => {
        reject(CALL_CANCELLED);
      });
      this.attempt(url, request, call, connectMs).then(resolve, reject).finally(stopListening);
    });
  }

  ask(url: string, { path, body }: PeerRequest, timeoutMs: number): Promise<Uint8Array | null> {
    const channel = this.dial(url);
    if (channel === null) return Promise.resolve(null);
    return new Promise((resolve) => {
      channel.unary(path, body, NO_HEADERS, this.options.wallNow() + timeoutMs, (error, answer) => {
        channel.close();
        resolve(error === null ? (answer ?? null) : null);
      });
    });
  }

  close(): void {
    this.closed = true;
    for (const { channel } of this.shared.values()) channel.close();
    this.shared.clear();
  }

  private async attempt(
    url: string,
    { path, body }: PeerRequest,
    call: Call,
    connectMs: number,
  ): Promise<Outcome<Uint8Array>> {
    const { wallNow } = this.options;
    const channel = this.closed ? null : this.channelTo(url);
    if (channel === null) return RETRY;
    const waitMs = Math.min(connectMs, call.deadline.remainingMs());
    if (!(await channel.connected(wallNow() + waitMs))) return RETRY;
    // A write must not be sent for a caller that went away while this member was still connecting.
    if (call.cancelled) throw CALL_CANCELLED;
    return new Promise((resolve) => {
      const deadlineMs = wallNow() + call.deadline.remainingMs();
      channel.unary(path, body, forwardedHeaders(call.headers), deadlineMs, (error, answer) => {
        resolve(error === null ? done(answer ?? new Uint8Array()) : outcomeOf(error));
      });
    });
  }

  /** The shared channel to `url`; null when the URL can't be dialled. Closes those that are idle. */
  private channelTo(url: string): PeerChannel | null {
    const now = this.options.clock.now();
    for (const [other, { channel, lastUsedMs }] of this.shared) {
      if (other === url || now - lastUsedMs < IDLE_MS_MAX) continue;
      channel.close();
      this.shared.delete(other);
    }
    const known = this.shared.get(url);
    if (known !== undefined) {
      known.lastUsedMs = now;
      return known.channel;
    }
    const channel = this.dial(url);
    if (channel !== null) this.shared.set(url, { channel, lastUsedMs: now });
    return channel;
  }

  private dial(url: string): PeerChannel | null {
    try {
      return this.options.dial(url);
    } catch {
      // A URL that can't be dialled is a member that can't be reached.
      return null;
    }
  }
}

/** What a failed call says about its effect. */
function outcomeOf(error: ServiceError): Outcome<never> {
  const failure = fromGrpcFailure(error);
  return failure.reason === null && TRANSPORT_CODES.has(error.code) ? UNKNOWN : refusedBy(failure);
}

/** Most bytes of a caller's headers that are forwarded. The library refuses calls with more than 16 KiB of headers. */
const FORWARDED_BYTES_MAX = 8 * 1024;
/** The headers of trace context: https://www.w3.org/TR/trace-context and https://www.w3.org/TR/baggage. */
const FORWARDED: ReadonlySet<string> = new Set(["traceparent", "tracestate", "baggage"]);

/**
 * The headers of a forwarded call: trace context and our own, as the caller sent them, and the one that forbids
 * forwarding it again. All other headers of the caller belong to its own connection, or may be too large for the
 * leader's, which other callers' calls share.
 */
function forwardedHeaders(headers: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const forwarded = new Map([[FORWARD_KEY, "never"]]);
  let bytes = 0;
  for (const [key, value] of headers) {
    if (key === FORWARD_KEY || !(FORWARDED.has(key) || key.startsWith("muster-"))) continue;
    const size = key.length + value.length;
    // One that is too large stays behind, those after it may fit.
    if (bytes + size > FORWARDED_BYTES_MAX) continue;
    bytes += size;
    forwarded.set(key, value);
  }
  return forwarded;
}
