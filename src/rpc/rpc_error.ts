/**
 * The end of a call that is not OK, on any wire, and the table that gives each reason its status code.
 *
 * Invariant: an error that refusalError builds can be sent; error_details.ts keeps its texts well-formed and short.
 */
import type { ErrorReason } from "../generated/muster/v1/errors";
import { decodeDetails, encodeDetails, wellFormed } from "./error_details";
import type { FieldViolation } from "./error_details";

/** The status codes of gRPC that this service sends. Values: grpc.io, "Status codes and their use in gRPC". */
export const StatusCode = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;

/** The reasons of errors.proto. */
type ReasonName = Exclude<keyof typeof ErrorReason, "UNSPECIFIED" | "UNRECOGNIZED">;

/** The status code of each reason. A missing row does not compile. */
export const GRPC_STATUS = {
  INVALID_REQUEST: StatusCode.INVALID_ARGUMENT,
  REQUEST_ID_REUSED: StatusCode.INVALID_ARGUMENT,
  MEMBER_ID_EXISTS: StatusCode.ALREADY_EXISTS,
  MEMBER_NAME_EXISTS: StatusCode.ALREADY_EXISTS,
  PEER_URL_EXISTS: StatusCode.ALREADY_EXISTS,
  MEMBER_NOT_FOUND: StatusCode.NOT_FOUND,
  MEMBER_REMOVED: StatusCode.NOT_FOUND,
  NOT_ENOUGH_STARTED_MEMBERS: StatusCode.FAILED_PRECONDITION,
  UNHEALTHY_CLUSTER: StatusCode.FAILED_PRECONDITION,
  LAST_VOTER: StatusCode.FAILED_PRECONDITION,
  LEARNER_NOT_READY: StatusCode.FAILED_PRECONDITION,
  TOO_MANY_LEARNERS: StatusCode.FAILED_PRECONDITION,
  FEATURE_NOT_READY: StatusCode.FAILED_PRECONDITION,
  MEMBER_IN_CONTACT: StatusCode.FAILED_PRECONDITION,
  REPLACEMENT_UNDER_WAY: StatusCode.FAILED_PRECONDITION,
  MEMBER_MISMATCH: StatusCode.FAILED_PRECONDITION,
  MEMBER_WIPED: StatusCode.FAILED_PRECONDITION,
  MEMBER_ROLLED_BACK: StatusCode.FAILED_PRECONDITION,
  TRANSFER_FAILED: StatusCode.FAILED_PRECONDITION,
  NOT_LEADER: StatusCode.FAILED_PRECONDITION, // not UNAVAILABLE: repeating at the same member does not help
  CLUSTER_ID_MISMATCH: StatusCode.FAILED_PRECONDITION,
  REVISION_MISMATCH: StatusCode.ABORTED, // AIP-154: read again, then retry one level up
  REVISION_COMPACTED: StatusCode.OUT_OF_RANGE, // not FAILED_PRECONDITION: another revision is answered
  TOO_MANY_REQUESTS: StatusCode.RESOURCE_EXHAUSTED,
  DISK_FULL: StatusCode.RESOURCE_EXHAUSTED,
  NO_LEADER: StatusCode.UNAVAILABLE, // nothing was appended: safe to try again
  NO_QUORUM: StatusCode.UNAVAILABLE,
  SERVER_STOPPING: StatusCode.UNAVAILABLE,
  OUTCOME_UNKNOWN: StatusCode.DEADLINE_EXCEEDED,
  NOT_PROPOSED: StatusCode.DEADLINE_EXCEEDED,
  INTERNAL: StatusCode.INTERNAL,
} as const satisfies Record<ReasonName, number>;

/** Why a call is refused, in the terms of the public contract. */
interface StatusRefusal {
  readonly reason: ReasonName;
  /** For people. */
  readonly message: string;
  /** The parts of the message that differ from error to error, for programs. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The fields that are wrong. @default none */
  readonly violations?: readonly FieldViolation[];
  /** How long the caller should wait before its next attempt, in milliseconds. @default null: waiting does not help */
  readonly retryDelayMs?: number | null;
}

/** The end of a call that is not OK. */
export class RpcError extends Error {
  /** The reason once it was read; undefined before. */
  private reasonRead: string | null | undefined;

  constructor(
    /** A gRPC status code. A peer may send a number that is not one of gRPC's. */
    readonly code: number,
    message: string,
    /** The encoded google.rpc.Status of the error, not checked; null without one. */
    readonly details: Buffer | null,
  ) {
    super(message);
    this.name = "RpcError";
  }

  /** The ErrorReason in the details; null for errors of libraries, of proxies and of other domains. */
  get reason(): string | null {
    this.reasonRead ??= decodeDetails(this.details ?? undefined).reason ?? null;
    return this.reasonRead;
  }
}

/** The error of a refusal: the status code of its reason, with reason and metadata in the details. */
export function refusalError(refusal: StatusRefusal): RpcError {
  const { reason, message, metadata, violations, retryDelayMs = null } = refusal;
  const code = GRPC_STATUS[reason];
  const given = violations === undefined ? {} : { violations };
  const details = encodeDetails({ code, message, reason, metadata, retryDelayMs, ...given });
  return new RpcError(code, wellFormed(message), details);
}
