/**
 * Server reflection (v1 and v1alpha) on a gRPC listener, so that grpcurl and buf curl need no proto files.
 *
 * The library loses the well-known types of a package definition that proto-loader made. It is given the compiled file
 * descriptors instead, and serves those unchanged.
 */
import type { Server } from "@grpc/grpc-js";
import type { PackageDefinition } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { fileDescriptors } from "../generated/descriptors";

/** @param services full names of the services that clients are shown */
export function addReflection(server: Server, services: readonly string[]): void {
  // The library reads nothing but the serialized file descriptors of a package definition.
  const fileDescriptorProtos = fileDescriptors.map(({ base64 }) => Buffer.from(base64, "base64"));
  const definition = { contract: { fileDescriptorProtos } } as unknown as PackageDefinition;
  new ReflectionService(definition, { services: [...services] }).addToServer(server);
}
