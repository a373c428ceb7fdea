/**
 * Errors as a caller of the client sees them: one class, built from the gRPC status and the details sent beside it.
 *
 * Source: https://google.aip.dev/193. The details are decoded by src/rpc/error_details.ts.
 */
import { status as GrpcStatus } from "@grpc/grpc-js";
import type { Metadata, ServiceError, status } from "@grpc/grpc-js";
import { decodeDetails as decodeBytes, STATUS_DETAILS_KEY } from "../rpc/error_details";
import type { ErrorDetails, FieldViolation } from "../rpc/error_details";

/** The fields of a MusterError. */
export interface MusterErrorInit {
  readonly code: status;
  readonly message: string;
  /** @default undefined */
  readonly reason?: string | undefined;
  /** @default empty */
  readonly metadata?: ReadonlyMap<string, string> | undefined;
  /** @default empty */
  readonly violations?: readonly FieldViolation[] | undefined;
  /** Milliseconds. @default undefined */
  readonly retryDelayMs?: number | undefined;
  /** @default undefined */
  readonly endpoint?: string | undefined;
  /** @default undefined */
  readonly requestId?: string | undefined;
  /** @default true, the safe assumption: the request may have reached a member */
  readonly sent?: boolean | undefined;
  /** The error that led to this one. @default undefined */
  readonly cause?: unknown;
}

/** A call that did not succeed: the methods of MusterClient reject with it. */
export class MusterError extends Error {
  /** The gRPC status code. */
  readonly code: status;
  /**
   * A name of muster.v1.ErrorReason without its prefix ("MEMBER_NAME_EXISTS"). Undefined when the failure does not
   * come from the service: no connection, a proxy, another server. A newer server may send names not known here.
   */
  readonly reason: string | undefined;
  /** The parts of the message that differ from error to error, by name. Empty without a reason. */
  readonly metadata: ReadonlyMap<string, string>;
  /** The refused fields; empty unless `reason` is INVALID_REQUEST. */
  readonly violations: readonly FieldViolation[];
  /** How long the server asks to wait before the next attempt, in milliseconds; undefined when it does not ask. */
  readonly retryDelayMs: number | undefined;
  /** The endpoint of the last attempt, as host:port; undefined when there was no attempt. */
  readonly endpoint: string | undefined;
  /** The request_id of a write, given or generated: repeating the call with it is safe. Undefined for a read. */
  readonly requestId: string | undefined;
  /** Whether the request may have reached a member. False: no connection was made. */
  readonly sent: boolean;

  constructor(init: MusterErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.name = "MusterError";
    this.code = init.code;
    this.reason = init.reason;
    this.metadata = init.metadata ?? new Map();
    this.violations = init.violations ?? [];
    this.retryDelayMs = init.retryDelayMs;
    this.endpoint = init.endpoint;
    this.requestId = init.requestId;
    this.sent = init.sent ?? true;
  }

  /** The reason, or the name of the status code when there is no reason. */
  get label(): string {
    // The code comes from a peer, which may send a number without a name.
    return (
      this.reason ??
      (GrpcStatus as Readonly<Record<number, string | undefined>>)[this.code] ??
      String(this.code)
    );
  }
}

/** A failed call as it was received. */
interface ReceivedStatus {
  readonly code: status;
  /** The text of the gRPC status. */
  readonly details: string;
  /** The value of the trailer STATUS_DETAILS_KEY; undefined without one. */
  readonly detailBytes: Uint8Array | undefined;
}

/**
 * A received status as a MusterError.
 *
 * @param endpoint the address that was called, as host:port
 * @param requestId the request_id of a write; undefined for a read
 * @param sent whether the request may have reached a member. A status with a reason comes from a member, and counts
 *   as sent in any case.
 */
export function fromStatus(
  received: ReceivedStatus,
  endpoint: string,
  requestId: string | undefined,
  sent: boolean,
  cause?: unknown,
): MusterError {
  const { code, details } = received;
  const { message, ...rest } = decodeBytes(received.detailBytes);
  const isReasoned = rest.reason !== undefined;
  // Without a reason the text names the address, because any of several endpoints may be the cause.
  const plain = sent ? `${endpoint}: ${details}` : `no connection to ${endpoint}: ${details}`;
  return new MusterError({
    ...rest,
    code,
    message: isReasoned ? message || details : plain,
    endpoint,
    requestId,
    sent: sent || isReasoned,
    cause,
  });
}

/** An error of grpc-js as a MusterError. */
export function fromServiceError(
  error: ServiceError,
  endpoint: string,
  requestId: string | undefined,
): MusterError {
  const { code, metadata } = error;
  const received = { code, details: causeOf(error.details), detailBytes: detailBytes(metadata) };
  return fromStatus(received, endpoint, requestId, !failedBeforeSending(error), error);
}

/** The details of an error of grpc-js, without making a MusterError of it. Never throws. */
export function decodeDetails(trailers: Metadata | undefined): ErrorDetails {
  return decodeBytes(detailBytes(trailers));
}

function detailBytes(trailers: Metadata | undefined): Uint8Array | undefined {
  const value = trailers?.get(STATUS_DETAILS_KEY)[0];
  return value instanceof Uint8Array ? value : undefined;
}

/** The cause of a failed connection ("connect ECONNREFUSED ...") without the remarks that grpc-js puts around it. */
function causeOf(details: string): string {
  const match = /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:/.exec(
    details,
  );
  return match?.[1] ?? details;
}

/**
 * Whether grpc-js gave up before it had a connection. It says so in its text only. Should the text change, the answer
 * becomes false, which is safe: the request then counts as one that may have arrived.
 */
function failedBeforeSending(error: ServiceError): boolean {
  return (
    error.code === GrpcStatus.UNAVAILABLE &&
    (error.details.startsWith("No connection established") ||
      error.details.startsWith("Name resolution failed"))
  );
}
