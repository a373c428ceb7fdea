/**
 * Errors with a machine-readable reason: google.rpc.Status in the trailer `grpc-status-details-bin`, with one
 * google.rpc.ErrorInfo of domain "muster.v1".
 *
 * Invariant: what is built here can always be sent. Text is well-formed Unicode (a lone surrogate makes the percent
 * encoding of grpc-message throw) and cut to a length that fits into an HTTP/2 header block. What a peer sent is read
 * without trust: anything that does not decode has no reason.
 *
 * Source: https://google.aip.dev/193 and the "richer error model" of gRPC.
 */
import { Metadata } from "@grpc/grpc-js";
import type { status } from "@grpc/grpc-js";
import { type Any } from "../generated/google/protobuf/any";
import { ErrorInfo } from "../generated/google/rpc/error_details";
import { Status } from "../generated/google/rpc/status";

/** The domain of every ErrorInfo of ours. */
export const ERROR_DOMAIN = "muster.v1";

/** Binary trailer that carries google.rpc.Status. */
export const STATUS_DETAILS_KEY = "grpc-status-details-bin";

const ERROR_INFO_URL = "type.googleapis.com/google.rpc.ErrorInfo";
const TEXT_LENGTH_MAX = 2048;
const METADATA_VALUE_LENGTH_MAX = 512;

/** Why a call is refused, before it is a gRPC status. */
export interface Refusal {
  readonly code: status;
  /** An ErrorReason of muster.v1 without its prefix. */
  readonly reason: string;
  /** For humans. */
  readonly text: string;
  /** Dynamic parts of the text. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** A status as grpc-js takes it: for a callback, or for `call.emit("error", ...)`. */
export interface DetailedStatus {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

/** The reason of an error that a server sent. */
export interface ErrorReason {
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** `text` with every lone surrogate replaced, cut to `lengthMax` UTF-16 units. */
export function wellFormed(text: string, lengthMax = TEXT_LENGTH_MAX): string {
  const cut = text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 1)}\u2026`;
  // In every Node that the package supports, but newer than the library definitions of the compiler's target.
  return (cut as unknown as { toWellFormed(): string }).toWellFormed();
}

/**
 * A status with its reason in the details.
 *
 * @param extra further details (BadRequest, RetryInfo), packed by the caller
 */
export function statusWithReason(
  code: status,
  reason: string,
  text: string,
  metadata: Readonly<Record<string, string>> = {},
  extra: readonly Any[] = [],
): DetailedStatus {
  const details = wellFormed(text);
  const values: Record<string, string> = {};
  for (const [key, value] of Object.entries(metadata)) {
    values[wellFormed(key)] = wellFormed(value, METADATA_VALUE_LENGTH_MAX);
  }
  const info = ErrorInfo.encode({ reason, domain: ERROR_DOMAIN, metadata: new Map(Object.entries(values)) });
  const packed: Any = { typeUrl: ERROR_INFO_URL, value: Buffer.from(info.finish()) };
  const body = Status.encode({ code, message: details, details: [packed, ...extra] }).finish();
  const trailer = new Metadata();
  trailer.set(STATUS_DETAILS_KEY, Buffer.from(body));
  return { code, details, metadata: trailer };
}

/** `statusWithReason` of a refusal. */
export function statusOfRefusal(refusal: Refusal): DetailedStatus {
  return statusWithReason(refusal.code, refusal.reason, refusal.text, refusal.metadata);
}

/** The reason that an error of ours carries; null for errors of the library, of proxies and of other domains. */
export function reasonOf(error: { readonly metadata?: Metadata | undefined }): ErrorReason | null {
  for (const value of error.metadata?.get(STATUS_DETAILS_KEY) ?? []) {
    if (typeof value === "string") continue;
    try {
      for (const detail of Status.decode(value).details) {
        if (detail.typeUrl !== ERROR_INFO_URL) continue;
        const info = ErrorInfo.decode(detail.value);
        if (info.domain !== ERROR_DOMAIN || info.reason === "") continue;
        return { reason: info.reason, metadata: Object.fromEntries(info.metadata) };
      }
    } catch {
      // Not a google.rpc.Status: an error without a reason.
    }
  }
  return null;
}
