/** RpcError to and from the statuses and errors of grpc-js. */
import { Metadata } from "@grpc/grpc-js";
import type { status } from "@grpc/grpc-js";
import { STATUS_DETAILS_KEY } from "./error_details";
import { RpcError } from "./rpc_error";

/** A status as a grpc-js server takes it: in a callback, or by `call.emit("error", ...)`. */
interface GrpcStatus {
  readonly code: status;
  /** The text of the status, for people. */
  readonly details: string;
  readonly metadata: Metadata;
}

/** The status of `error`, with its details in the trailers. */
export function toGrpcStatus({ code, message, details }: RpcError): GrpcStatus {
  const metadata = new Metadata();
  if (details !== null) metadata.set(STATUS_DETAILS_KEY, details);
  return { code, details: message, metadata };
}

/** The part of a grpc-js client's error that an RpcError is made of. */
export interface GrpcFailure {
  readonly code: status;
  /** The text of the status, for people. */
  readonly details: string;
  readonly metadata?: Metadata | undefined;
}

/** The error of a failed call. Its details are not decoded, and may be garbage. */
export function fromGrpcFailure({ code, details, metadata }: GrpcFailure): RpcError {
  const value = metadata?.get(STATUS_DETAILS_KEY)[0];
  return new RpcError(code, details, value instanceof Buffer ? value : null);
}
