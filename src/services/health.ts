/**
 * The health that this member reports by grpc.health.v1. The server sets it to SERVING while a leader is known, the
 * disk has space, and this member is not removed or stopping. Otherwise clients should prefer another member, although
 * this one may still answer reads.
 */

/** The services whose health is reported; "" is the whole server. */
export const HEALTH_SERVICES = ["", "muster.v1.MembershipService"] as const;

/** The wire's record of the health of each service. Every service is NOT_SERVING at first. */
export interface HealthSink {
  set(service: string, serving: boolean): void;
}

/** Reports changes only, the same for every service. */
export class Health {
  private ended = false;
  private serving = false;

  constructor(private readonly sink: HealthSink) {}

  set(serving: boolean): void {
    if (this.ended || serving === this.serving) return;
    this.serving = serving;
    for (const service of HEALTH_SERVICES) this.sink.set(service, serving);
  }

  /** Sets NOT_SERVING for good: later calls of set() do nothing. */
  end(): void {
    this.set(false);
    this.ended = true;
  }
}
