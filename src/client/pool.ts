/**
 * The endpoints of one cluster: those that were configured, which stay for ever as hints, and the admin URLs of the members
 * in the newest roster that this client has seen.
 *
 * Invariants: a roster older than the newest one seen changes nothing. The configured endpoints come first, in their
 * order. A removed member's endpoint gets no new attempt, and its connection closes when the last one on it has ended.
 */
import { status } from "@grpc/grpc-js";
import { HealthCheckResponse_ServingStatus, HealthService } from "../generated/grpc/health/v1/health";
import { TIMEOUT_MAX_MS } from "./attempt";
import type { Attempt, Channel, Method, Readiness } from "./attempt";
import type { Clock } from "./clock";
import { ClientConfigError, parseEndpoint } from "./endpoints";
import type { Endpoint } from "./endpoints";
import { MusterError } from "./errors";

/** Most endpoints taken from a roster: that of a cluster has fewer, and a faulty answer must not open sockets without end. */
const ROSTER_ENDPOINTS_MAX = 64;
/**
 * How long a client lives before it watches the health of its endpoints, in milliseconds: a command that makes one call and
 * ends has nothing of it.
 */
const HEALTH_AFTER_MS = 1000;
/** Least time between two watches of the health of one endpoint, in milliseconds. */
const HEALTH_AGAIN_MS = 5000;

/** A roster, as far as the endpoints follow from it. */
export interface SeenRoster {
  /** Empty: not known. */
  readonly clusterId: string;
  readonly revision: bigint;
  readonly members: readonly { readonly adminUrls: readonly string[] }[];
}

interface PoolDeps {
  /** The configured endpoints, at least one. */
  readonly hints: readonly Endpoint[];
  /** Makes the channel to an endpoint; it connects when it is first used. */
  readonly dial: (endpoint: Endpoint) => Channel;
  /** Whether members of the roster become endpoints. */
  readonly followRoster: boolean;
  /** Whether the credentials are the same whatever an address begins with. */
  readonly ownCredentials: boolean;
  /** Whether the health of endpoints is watched. */
  readonly healthCheck: boolean;
  /** The clock that attempts run on. */
  readonly clock: Clock;
}

export class EndpointPool {
  private readonly hints = new Map<string, PooledChannel>();
  private followed = new Map<string, PooledChannel>();
  private all: readonly PooledChannel[];
  private seen: { clusterId: string; revision: bigint } | null = null;
  private readonly bornAt: number;

  constructor(private readonly deps: PoolDeps) {
    this.bornAt = deps.clock.now();
    for (const endpoint of deps.hints) this.hints.set(this.keyOf(endpoint), this.add(endpoint));
    this.all = [...this.hints.values()];
  }

  /** The endpoints to try, the configured ones first. The same array until a roster changes them. */
  channels(): readonly Channel[] {
    return this.all;
  }

  /** Takes the members of a roster as endpoints, in place of those of the roster before. Without revision: not a roster. */
  see({ clusterId, revision, members }: SeenRoster): void {
    if (!this.deps.followRoster || revision === 0n) return;
    const { seen } = this;
    const isOther = seen !== null && seen.clusterId !== "" && clusterId !== seen.clusterId;
    if (isOther || (seen !== null && revision <= seen.revision)) return;
    this.seen = { clusterId, revision };
    const next = new Map<string, PooledChannel>();
    for (const endpoint of members.flatMap(({ adminUrls }) => adminUrls.flatMap(parsed))) {
      const key = this.keyOf(endpoint);
      if (this.hints.has(key) || next.has(key) || !this.isAllowed(endpoint)) continue;
      if (next.size === ROSTER_ENDPOINTS_MAX) break;
      next.set(key, this.followed.get(key) ?? this.add(endpoint));
    }
    for (const [key, channel] of this.followed) if (!next.has(key)) channel.retire();
    this.followed = next;
    this.all = [...this.hints.values(), ...next.values()];
  }

  /** A roster never leads a client that was configured with TLS alone to speak in the clear. */
  private isAllowed({ tls }: Endpoint): boolean {
    return this.deps.ownCredentials || tls || this.deps.hints.some((hint) => !hint.tls);
  }

  private keyOf({ authority, tls }: Endpoint): string {
    return this.deps.ownCredentials ? authority : `${tls ? "https" : "http"} ${authority}`;
  }

  private add(endpoint: Endpoint): PooledChannel {
    const { clock } = this.deps;
    const wantsHealth = (): boolean =>
      // With one endpoint there is no choice.
      this.deps.healthCheck && this.all.length > 1 && clock.now() - this.bornAt >= HEALTH_AFTER_MS;
    return new PooledChannel(this.deps.dial(endpoint), clock, wantsHealth);
  }
}

/** The address of a roster's member; none when this client can't use it. */
function parsed(url: string): Endpoint[] {
  try {
    return [parseEndpoint(url)];
  } catch (error) {
    if (error instanceof ClientConfigError) return [];
    throw error;
  }
}

/** A channel that counts what runs on it, and knows whether its member serves. */
class PooledChannel implements Channel {
  readonly authority: string;
  /** What the member says of itself; true while that is not known. */
  serving = true;
  private running = 0;
  private retired = false;
  private closed = false;
  private readonly over = new AbortController();
  private isHealthWatched = false;
  /** When its health may be watched again, on the clock of the attempts; Infinity: its server has no such service. */
  private healthAgainAt = -Infinity;

  constructor(
    private readonly channel: Channel,
    private readonly clock: Clock,
    private readonly wantsHealth: () => boolean,
  ) {
    this.authority = channel.authority;
  }

  async ready(attempt: Attempt): Promise<Readiness> {
    if (this.closed) return this.gone();
    return (await this.channel.ready?.(attempt)) ?? "connected";
  }

  async unary<Req, Res>(method: Method<Req, Res>, request: Req, attempt: Attempt): Promise<Res> {
    this.begin();
    try {
      const response = await this.channel.unary(method, request, attempt);
      this.answered();
      return response;
    } finally {
      this.end();
    }
  }

  async *serverStream<Req, Res>(
    method: Method<Req, Res>,
    request: Req,
    attempt: Attempt,
  ): AsyncGenerator<Res, void, undefined> {
    this.begin();
    try {
      for await (const message of this.channel.serverStream(method, request, attempt)) {
        this.answered();
        yield message;
      }
    } finally {
      this.end();
    }
  }

  close(): void {
    this.closed = true;
    this.over.abort();
    this.channel.close();
  }

  /** Takes no new attempts, and closes when the last one has ended. */
  retire(): void {
    this.retired = true;
    this.over.abort();
    if (this.running === 0) this.close();
  }

  private begin(): void {
    if (this.closed) throw this.gone();
    this.running++;
  }

  private end(): void {
    this.running--;
    if (this.retired && this.running === 0 && !this.closed) this.close();
  }

  private gone(): MusterError {
    const message = `${this.authority} is no longer an endpoint`;
    return new MusterError({
      code: status.UNAVAILABLE,
      message,
      endpoint: this.authority,
      sent: false,
    });
  }

  /** Something was received, so there is a connection: its member's health can be watched on it, one call at a time. */
  private answered(): void {
    if (this.isHealthWatched || this.retired || this.closed) return;
    if (this.clock.now() < this.healthAgainAt || !this.wantsHealth()) return;
    this.isHealthWatched = true;
    void this.watchHealth();
  }

  private async watchHealth(): Promise<void> {
    const { signal } = this.over;
    const attempt: Attempt = { timeoutMs: TIMEOUT_MAX_MS, requestId: undefined, number: 1, signal };
    this.healthAgainAt = this.clock.now() + HEALTH_AGAIN_MS;
    try {
      const answers = this.channel.serverStream(HealthService.watch, { service: "" }, attempt);
      for await (const answer of answers) {
        this.serving = answer.status !== HealthCheckResponse_ServingStatus.NOT_SERVING;
      }
    } catch (error) {
      if (error instanceof MusterError && NO_HEALTH.has(error.code)) this.healthAgainAt = Infinity;
    } finally {
      // Without word of it the member may be asked, and the answer of an attempt shows what it can do.
      this.serving = true;
      this.isHealthWatched = false;
    }
  }
}

/** Answers of a server that will not tell its health. */
const NO_HEALTH: ReadonlySet<status> = new Set([
  status.UNIMPLEMENTED,
  status.NOT_FOUND,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
]);
