/**
 * The errors that grpc-js itself makes of a request that it can't read: too large, compressed in an unknown or broken way.
 * They get the ErrorInfo that every error of this service has, so that a caller can tell that nothing was done.
 *
 * Not reached from here: a method that does not exist (UNIMPLEMENTED), and calls that are not gRPC. docs/operations.md
 */
import { Metadata } from "@grpc/grpc-js";
import type { ServerInterceptor, status } from "@grpc/grpc-js";
import { STATUS_DETAILS_KEY, encodeDetails } from "./error_details";

/** A status as the library passes it to a call, which leaves out what its types promise. */
interface LibraryStatus {
  readonly code?: status | null | undefined;
  readonly details?: string | null | undefined;
  readonly metadata?: Metadata | null | undefined;
}

/** The library's texts about requests. It has errors about answers too, after which something may have been done. */
const OF_THE_REQUEST = /^(Received message|Failed to decompress|Invalid grpc-timeout)/;

/** For the server's option "interceptors". The library sends its own errors past a responder, so the call is changed. */
export const explainLibraryErrors: ServerInterceptor = (_method, call) => {
  const send = call.sendStatus.bind(call);
  call.sendStatus = (given) => {
    send(explained(given) as typeof given);
  };
  // The library's own call is no instance of the class that its types ask for, and it takes it all the same.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
  return call as ReturnType<ServerInterceptor>;
};

function explained(given: LibraryStatus): LibraryStatus {
  const { code, details: message } = given;
  // What a handler answers has trailers, empty ones at least (grpc_status.ts); it is sent unchanged.
  if (given.metadata != null || code == null || message == null || !OF_THE_REQUEST.test(message))
    return given;
  const metadata = new Metadata();
  const details = encodeDetails({ code, message, reason: "INVALID_REQUEST", metadata: {} });
  metadata.set(STATUS_DETAILS_KEY, details);
  return { ...given, metadata };
}
