/** grpc.health.v1 on a gRPC listener. services/health.ts decides when a service is SERVING. */
import type { Server } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";

export class GrpcHealth {
  private readonly implementation: HealthImplementation;

  /** @param services full names, all NOT_SERVING at first; "" is the whole server */
  constructor(services: readonly string[]) {
    this.implementation = new HealthImplementation(
      Object.fromEntries(services.map((service) => [service, "NOT_SERVING" as const])),
    );
  }

  addTo(server: Server): void {
    this.implementation.addToServer(server);
  }

  set(service: string, serving: boolean): void {
    this.implementation.setStatus(service, serving ? "SERVING" : "NOT_SERVING");
  }
}
