/**
 * From a refusal to a gRPC status: one table of codes, one way to build the details.
 *
 * Every error that this service means to send carries google.rpc.Status with one ErrorInfo; whatever else is thrown
 * becomes INTERNAL with a fixed text and is logged. SPEC section 3, AIP-193.
 */
import { status } from "@grpc/grpc-js";
import type { Metadata, ServiceError } from "@grpc/grpc-js";
import { BadRequest, RetryInfo } from "../generated/google/rpc/error_details";
import type { Reason, Refusal } from "../roster/index";
import { statusWithReason } from "../transport/status_details";

/** The status of each reason. A missing row does not compile. */
export const GRPC_STATUS = {
  INVALID_REQUEST: status.INVALID_ARGUMENT,
  REQUEST_ID_REUSED: status.INVALID_ARGUMENT,
  MEMBER_ID_EXISTS: status.ALREADY_EXISTS,
  MEMBER_NAME_EXISTS: status.ALREADY_EXISTS,
  PEER_URL_EXISTS: status.ALREADY_EXISTS,
  MEMBER_NOT_FOUND: status.NOT_FOUND,
  MEMBER_REMOVED: status.NOT_FOUND,
  NOT_ENOUGH_STARTED_MEMBERS: status.FAILED_PRECONDITION,
  UNHEALTHY_CLUSTER: status.FAILED_PRECONDITION,
  LAST_VOTER: status.FAILED_PRECONDITION,
  NOT_A_LEARNER: status.FAILED_PRECONDITION,
  MEMBER_MISMATCH: status.FAILED_PRECONDITION,
  MEMBER_WIPED: status.FAILED_PRECONDITION,
  NOT_LEADER: status.FAILED_PRECONDITION, // not UNAVAILABLE: repeating at the same member does not help
  CLUSTER_ID_MISMATCH: status.FAILED_PRECONDITION,
  REVISION_MISMATCH: status.ABORTED, // AIP-154: read again, then retry one level up
  TOO_MANY_REQUESTS: status.RESOURCE_EXHAUSTED,
  DISK_FULL: status.RESOURCE_EXHAUSTED,
  NO_LEADER: status.UNAVAILABLE, // nothing was appended: safe to try again
  NO_QUORUM: status.UNAVAILABLE,
  SERVER_STOPPING: status.UNAVAILABLE,
  OUTCOME_UNKNOWN: status.DEADLINE_EXCEEDED,
  NOT_PROPOSED: status.DEADLINE_EXCEEDED,
  INTERNAL: status.INTERNAL,
} as const satisfies Record<Reason, status>;

/** A refusal on its way to the caller. */
export class RefusedError extends Error {
  constructor(
    readonly refusal: Refusal,
    /** How long the caller should wait before it tries again, in milliseconds; sent as RetryInfo. */
    readonly retryDelayMs: number | null = null,
  ) {
    super(refusal.message);
    this.name = "RefusedError";
  }
}

/** A refusal that does not come from the roster. */
export function refused(
  reason: Reason,
  message: string,
  metadata: Readonly<Record<string, string>> = {},
  retryDelayMs: number | null = null,
): RefusedError {
  return new RefusedError({ reason, message, metadata }, retryDelayMs);
}

/** What a handler's callback takes. */
export type StatusError = Partial<ServiceError> & { code: status; details: string; metadata: Metadata };

const RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest";

export function toStatus(error: RefusedError): StatusError {
  const { reason, message, metadata, violations } = error.refusal;
  const extra = [];
  if (violations !== undefined && violations.length > 0) {
    const fieldViolations = violations.map(({ field, description }) => ({
      field,
      description,
      reason: "",
      localizedMessage: undefined,
    }));
    extra.push({ typeUrl: BAD_REQUEST, value: Buffer.from(BadRequest.encode({ fieldViolations }).finish()) });
  }
  if (error.retryDelayMs !== null) {
    const value = RetryInfo.encode({ retryDelay: toDuration(error.retryDelayMs) }).finish();
    extra.push({ typeUrl: RETRY_INFO, value: Buffer.from(value) });
  }
  return statusWithReason(GRPC_STATUS[reason], reason, message, metadata, extra);
}

/** Milliseconds as google.protobuf.Duration. */
export function toDuration(ms: number): { seconds: bigint; nanos: number } {
  const whole = Math.max(0, Math.floor(ms));
  return { seconds: BigInt(Math.floor(whole / 1000)), nanos: (whole % 1000) * 1_000_000 };
}

/** The one answer to an unexpected failure: what happened is in the log, not on the wire. */
export function internalError(): StatusError {
  return toStatus(
    refused(
      "INTERNAL",
      "the member failed to handle this call; its log has the details under the time of the call",
    ),
  );
}
