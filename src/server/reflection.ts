/**
 * Server reflection (v1 and v1alpha), so that grpcurl and buf curl need no proto files.
 *
 * The library loses well-known types when it is given a package definition as its documentation shows; given the
 * compiled file descriptors it serves them as they are.
 */
import type { PackageDefinition } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { fileDescriptors } from "../generated/descriptors";

/** What clients are shown; what members say to each other is not for them. */
const SERVICES = ["muster.v1.MembershipService", "muster.v1.MaintenanceService", "grpc.health.v1.Health"];

export function reflectionService(): ReflectionService {
  // Only the serialized file descriptors are read of a package definition.
  const fileDescriptorProtos = fileDescriptors.map(({ base64 }) => Buffer.from(base64, "base64"));
  const definition = { contract: { fileDescriptorProtos } } as unknown as PackageDefinition;
  return new ReflectionService(definition, { services: SERVICES });
}
