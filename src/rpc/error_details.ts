/**
 * The details of an error: google.rpc.Status with one ErrorInfo of domain "muster.v1" and, where they apply, BadRequest
 * and RetryInfo. Encoded by the server, decoded by the client and by other members.
 *
 * Invariant: any arguments of encodeDetails give bytes that can be sent. Text is well-formed Unicode, because a lone
 * surrogate makes the percent encoding of the header grpc-message throw, and is cut so that it fits into an HTTP/2
 * header block. Received bytes are not trusted: decodeDetails never throws and leaves out every detail that does not
 * decode.
 *
 * Source: https://google.aip.dev/193 and google/rpc/error_details.proto. Knows no gRPC library, so that client and
 * server share it.
 */
import type { Any } from "../generated/google/protobuf/any";
import type { Duration } from "../generated/google/protobuf/duration";
import { BadRequest, ErrorInfo, RetryInfo } from "../generated/google/rpc/error_details";
import { Status } from "../generated/google/rpc/status";

/** The domain of every ErrorInfo that this service sends. */
const ERROR_DOMAIN = "muster.v1";

/** The binary trailer that carries google.rpc.Status. */
export const STATUS_DETAILS_KEY = "grpc-status-details-bin";

const TYPE_URL_PREFIX = "type.googleapis.com/";
const ERROR_INFO = "google.rpc.ErrorInfo";
const BAD_REQUEST = "google.rpc.BadRequest";
const RETRY_INFO = "google.rpc.RetryInfo";

/** Longest text of an error, in UTF-16 units. */
const TEXT_LENGTH_MAX = 2048;
/** Longest value in the metadata of an ErrorInfo, in UTF-16 units. */
const METADATA_VALUE_LENGTH_MAX = 512;

/** One field of a request and what is wrong with it. */
export interface FieldViolation {
  /** Path of the field, in the names of the .proto file. */
  readonly field: string;
  /** For humans. */
  readonly description: string;
}

/** An error before it is encoded. */
interface DetailedError {
  /** The gRPC status code. */
  readonly code: number;
  /** For humans. */
  readonly message: string;
  /** An ErrorReason of muster.v1 without its prefix. */
  readonly reason: string;
  /** The parts of the message that differ from error to error, by name. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Sent as BadRequest. @default none */
  readonly violations?: readonly FieldViolation[] | undefined;
  /** How long to wait before the next attempt, in milliseconds; sent as RetryInfo. Null: not sent. @default null */
  readonly retryDelayMs?: number | null | undefined;
}

/** The details of one received error. */
export interface ErrorDetails {
  /** The text of google.rpc.Status. Undefined unless `reason` is set. */
  readonly message: string | undefined;
  /** The reason of the ErrorInfo of domain "muster.v1"; undefined without one. */
  readonly reason: string | undefined;
  /** The metadata of the same ErrorInfo; empty without one. */
  readonly metadata: ReadonlyMap<string, string>;
  /** From BadRequest; empty without one. */
  readonly violations: readonly FieldViolation[];
  /** From RetryInfo, in milliseconds, at least 0; undefined without one. */
  readonly retryDelayMs: number | undefined;
}

/** `text` with every lone surrogate replaced, cut to `lengthMax` UTF-16 units. */
export function wellFormed(text: string, lengthMax = TEXT_LENGTH_MAX): string {
  const cut = text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 1)}\u2026`;
  // In every Node that the package supports, but newer than the library definitions of the compiler's target.
  return (cut as unknown as { toWellFormed(): string }).toWellFormed();
}

/**
 * An error as the value of the trailer STATUS_DETAILS_KEY: ErrorInfo, then BadRequest, then RetryInfo.
 *
 * Message and metadata are sent as `wellFormed` makes them. A caller that also sends the message as the text of the
 * gRPC status passes it through `wellFormed` itself.
 */
export function encodeDetails(error: DetailedError): Buffer {
  const { code, reason, violations = [], retryDelayMs } = error;
  const metadata = new Map<string, string>();
  for (const [key, value] of Object.entries(error.metadata)) {
    metadata.set(wellFormed(key), wellFormed(value, METADATA_VALUE_LENGTH_MAX));
  }
  const info = ErrorInfo.encode({ reason, domain: ERROR_DOMAIN, metadata });
  const details = [pack(ERROR_INFO, info.finish())];
  if (violations.length > 0) {
    const fieldViolations = violations.map(({ field, description }) => ({
      field,
      description,
      reason: "",
      localizedMessage: undefined,
    }));
    details.push(pack(BAD_REQUEST, BadRequest.encode({ fieldViolations }).finish()));
  }
  if (retryDelayMs != null) {
    const retryDelay = toDuration(retryDelayMs);
    details.push(pack(RETRY_INFO, RetryInfo.encode({ retryDelay }).finish()));
  }
  return Buffer.from(Status.encode({ code, message: wellFormed(error.message), details }).finish());
}

/**
 * Reads the value of the trailer STATUS_DETAILS_KEY. Never throws: details that do not decode and an ErrorInfo of
 * another domain are left out, and without bytes all fields are empty.
 */
export function decodeDetails(bytes: Uint8Array | undefined): ErrorDetails {
  let message: string | undefined;
  let reason: string | undefined;
  let metadata: ReadonlyMap<string, string> = new Map();
  let violations: readonly FieldViolation[] = [];
  let retryDelayMs: number | undefined;
  const status = bytes === undefined ? undefined : decodeOrNothing(Status, bytes);
  for (const detail of status?.details ?? []) {
    const info = unpack(detail, ERROR_INFO, ErrorInfo);
    if (info?.domain === ERROR_DOMAIN && info.reason !== "") {
      ({ reason, metadata } = info);
      message = status?.message;
    }
    const badRequest = unpack(detail, BAD_REQUEST, BadRequest);
    if (badRequest !== undefined) {
      violations = badRequest.fieldViolations.map(({ field, description }) => ({ field, description }));
    }
    const retry = unpack(detail, RETRY_INFO, RetryInfo);
    if (retry?.retryDelay !== undefined) retryDelayMs = fromDuration(retry.retryDelay);
  }
  return { message, reason, metadata, violations, retryDelayMs };
}

/** Milliseconds as google.protobuf.Duration, rounded down; a negative number becomes 0. */
export function toDuration(ms: number): Duration {
  const whole = Math.max(0, Math.floor(ms));
  return { seconds: BigInt(Math.floor(whole / 1000)), nanos: (whole % 1000) * 1_000_000 };
}

/** A google.protobuf.Duration in milliseconds, with fractions; a negative one becomes 0. */
export function fromDuration(duration: Duration): number {
  return Math.max(0, Number(duration.seconds) * 1000 + duration.nanos / 1e6);
}

interface Decoder<T> {
  decode(bytes: Uint8Array): T;
}

function pack(typeName: string, bytes: Uint8Array): Any {
  return { typeUrl: `${TYPE_URL_PREFIX}${typeName}`, value: Buffer.from(bytes) };
}

/** The message in `detail`; undefined when it is of another type or damaged. */
function unpack<T>(detail: Any, typeName: string, type: Decoder<T>): T | undefined {
  // Only what follows the last slash names the type: senders differ in the prefix.
  if (detail.typeUrl.slice(detail.typeUrl.lastIndexOf("/") + 1) !== typeName) return undefined;
  return decodeOrNothing(type, detail.value);
}

function decodeOrNothing<T>(type: Decoder<T>, bytes: Uint8Array): T | undefined {
  try {
    return type.decode(bytes);
  } catch {
    return undefined;
  }
}
