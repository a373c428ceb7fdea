/**
 * Errors as a caller sees them: one class, filled from the status and from the details that travel beside it.
 *
 * Details are google.rpc.Status in the trailer `grpc-status-details-bin`: ErrorInfo (reason, metadata),
 * BadRequest (fields), RetryInfo (delay). They come from a peer: what does not decode, or is of another
 * domain, is left out, and the plain status still stands.
 *
 * Source: the gRPC richer error model; google/rpc/error_details.proto; AIP-193.
 */
import { status as GrpcStatus } from "@grpc/grpc-js";
import type { Metadata, ServiceError, status } from "@grpc/grpc-js";
import type { Any } from "../generated/google/protobuf/any";
import type { Duration } from "../generated/google/protobuf/duration";
import { BadRequest, ErrorInfo, RetryInfo } from "../generated/google/rpc/error_details";
import { Status } from "../generated/google/rpc/status";

/** The trailer that carries google.rpc.Status. */
export const DETAILS_KEY = "grpc-status-details-bin";

/** The ErrorInfo domain of Muster's own reasons. */
export const ERROR_DOMAIN = "muster.v1";

/** One field of a request and what is wrong with it. */
export interface FieldViolation {
  /** Path of the field, in the names of the .proto file. */
  readonly field: string;
  readonly description: string;
}

/** Everything a MusterError is made of. */
export interface MusterErrorInit {
  readonly code: status;
  readonly message: string;
  readonly reason?: string | undefined;
  readonly metadata?: ReadonlyMap<string, string> | undefined;
  readonly violations?: readonly FieldViolation[] | undefined;
  readonly retryDelayMs?: number | undefined;
  readonly endpoint?: string | undefined;
  readonly requestId?: string | undefined;
  readonly sent?: boolean | undefined;
  readonly cause?: unknown;
}

/** A call that did not succeed: what the methods of MusterClient reject with. */
export class MusterError extends Error {
  /** The gRPC status code. */
  readonly code: status;
  /**
   * Why, as a name of muster.v1.ErrorReason without its prefix ("MEMBER_NAME_EXISTS"). Undefined when the
   * failure is not the service's own: no connection, a proxy, another server. A newer server may send names
   * not known here.
   */
  readonly reason: string | undefined;
  /** The dynamic parts of the text, by name. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Fields that were refused; empty unless `reason` is INVALID_REQUEST. */
  readonly violations: readonly FieldViolation[];
  /** When the server says trying again makes sense: after so many milliseconds. */
  readonly retryDelayMs: number | undefined;
  /** The address asked last, as host:port. */
  readonly endpoint: string | undefined;
  /** A write's request_id, given or generated: with it the same call can be repeated safely. */
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

  /** The reason, or the status code's name when the service gave none. */
  get label(): string {
    // The code comes from a peer, which may send a number that is none.
    return (
      this.reason ??
      (GrpcStatus as Readonly<Record<number, string | undefined>>)[this.code] ??
      String(this.code)
    );
  }
}

/** What the details of one error say. */
export interface ErrorDetails {
  readonly message: string | undefined;
  readonly reason: string | undefined;
  readonly metadata: ReadonlyMap<string, string>;
  readonly violations: readonly FieldViolation[];
  readonly retryDelayMs: number | undefined;
}

/** Reads the details of an error; parts that are missing or damaged are left out. Never throws. */
export function decodeDetails(trailers: Metadata | undefined): ErrorDetails {
  let message: string | undefined;
  let reason: string | undefined;
  let metadata: ReadonlyMap<string, string> = new Map();
  let violations: readonly FieldViolation[] = [];
  let retryDelayMs: number | undefined;
  const rpcStatus = decodeStatus(trailers);
  for (const detail of rpcStatus?.details ?? []) {
    const info = decodeAs(detail, "google.rpc.ErrorInfo", ErrorInfo);
    if (info?.domain === ERROR_DOMAIN && info.reason !== "") {
      ({ reason, metadata } = info);
      message = rpcStatus?.message;
    }
    const badRequest = decodeAs(detail, "google.rpc.BadRequest", BadRequest);
    if (badRequest !== undefined) {
      violations = badRequest.fieldViolations.map(({ field, description }) => ({ field, description }));
    }
    const retry = decodeAs(detail, "google.rpc.RetryInfo", RetryInfo);
    if (retry?.retryDelay !== undefined) retryDelayMs = durationMs(retry.retryDelay);
  }
  return { message, reason, metadata, violations, retryDelayMs };
}

/** Turns what grpc-js reports into a MusterError. */
export function fromServiceError(
  error: ServiceError,
  endpoint: string,
  requestId: string | undefined,
): MusterError {
  const { message, ...details } = decodeDetails(error.metadata);
  return new MusterError({
    ...details,
    code: error.code,
    // Without details the text names the address: with several endpoints it is the first thing to know.
    message: details.reason === undefined ? plainMessage(error, endpoint) : message || error.details,
    endpoint,
    requestId,
    sent: details.reason !== undefined || !failedBeforeSending(error),
    cause: error,
  });
}

/** grpc-js wraps the cause of a failed connection ("connect ECONNREFUSED ...") into notes about itself. */
function plainMessage(error: ServiceError, endpoint: string): string {
  const cause = /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:/.exec(
    error.details,
  );
  return cause?.[1] === undefined
    ? `${endpoint}: ${error.details}`
    : `no connection to ${endpoint}: ${cause[1]}`;
}

/**
 * Whether grpc-js gave up before it had a connection. It says so in its text only; should the text change,
 * the answer here becomes false, which is the safe side: the call then counts as one that may have arrived.
 */
function failedBeforeSending(error: ServiceError): boolean {
  return (
    error.code === GrpcStatus.UNAVAILABLE &&
    (error.details.startsWith("No connection established") ||
      error.details.startsWith("Name resolution failed"))
  );
}

function decodeStatus(trailers: Metadata | undefined): Status | undefined {
  const value = trailers?.get(DETAILS_KEY)[0];
  if (!(value instanceof Uint8Array)) return undefined;
  try {
    return Status.decode(value);
  } catch {
    return undefined;
  }
}

function decodeAs<T>(detail: Any, typeName: string, type: { decode(bytes: Uint8Array): T }): T | undefined {
  if (detail.typeUrl.slice(detail.typeUrl.lastIndexOf("/") + 1) !== typeName) return undefined;
  try {
    return type.decode(detail.value);
  } catch {
    return undefined;
  }
}

function durationMs(duration: Duration): number {
  return Math.max(0, Number(duration.seconds) * 1000 + duration.nanos / 1e6);
}
