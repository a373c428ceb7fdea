/**
 * grpc.health.v1 on the admin listener: SERVING only while a leader is known, this member serves, and its log has
 * space. What asks health should then send its clients elsewhere; reads are answered all the same.
 */
import type { Server } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";

const SERVICES = ["", "muster.v1.MembershipService"];

export class Health {
  private readonly implementation = new HealthImplementation(
    Object.fromEntries(SERVICES.map((service) => [service, "NOT_SERVING" as const])),
  );
  private ended = false;
  private serving = false;

  addTo(server: Server): void {
    this.implementation.addToServer(server);
  }

  set(serving: boolean): void {
    if (this.ended || serving === this.serving) return;
    this.serving = serving;
    for (const service of SERVICES)
      this.implementation.setStatus(service, serving ? "SERVING" : "NOT_SERVING");
  }

  /** NOT_SERVING for good. */
  end(): void {
    this.set(false);
    this.ended = true;
  }
}
