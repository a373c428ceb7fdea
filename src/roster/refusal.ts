/**
 * Why the roster refuses a command: a stable reason for programs, and a message for people.
 *
 * Invariant: reason and metadata alone determine the message. The request memory keeps only those two, and a repeated
 * call gets the same message as the first. A refusal of the leader's, in a RefuseCommand, carries its own text. Pure.
 */
import { ErrorReason } from "../generated/muster/v1/errors";
import { quote } from "./text";

/**
 * The reasons of muster.v1.ErrorReason, without prefix.
 */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED" | "UNRECOGNIZED">;

/** One field of a request that is missing or malformed (google.rpc.BadRequest.FieldViolation). */
export interface FieldViolation {
  /** Path of the field in the request, in proto names: `peer_url`, `admin_urls[1]`. */
  readonly field: string;
  /** What is wrong with it. ASCII. */
  readonly description: string;
}

export interface Refusal {
  readonly reason: Reason;
  /** One sentence: what, where, what to do. Printable ASCII. */
  readonly message: string;
  /** The dynamic parts of the message, for programs. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Only with INVALID_REQUEST. */
  readonly violations?: readonly FieldViolation[];
}

/** A refusal as an error, to be thrown up to the service that answers the caller. */
export class RefusedError extends Error {
  constructor(
    readonly refusal: Refusal,
    /** How long the caller should wait before it tries again, in milliseconds; null when waiting does not help. */
    readonly retryDelayMs: number | null = null,
  ) {
    super(refusal.message);
    this.name = "RefusedError";
  }
}

/** A refusal for a reason that apply does not decide on. */
export function refused(
  reason: Reason,
  message: string,
  metadata: Readonly<Record<string, string>> = {},
  retryDelayMs: number | null = null,
): RefusedError {
  return new RefusedError({ reason, message, metadata }, retryDelayMs);
}

type Metadata = Readonly<Record<string, string>>;

/** Reasons that apply can decide on, and the message of each. */
const MESSAGES = {
  INVALID_REQUEST: (m) => {
    const more = m["more"];
    const rest = more === undefined ? "" : ` (and ${more} more ${more === "1" ? "problem" : "problems"})`;
    return `${m["field"] ?? "request"} ${m["problem"] ?? "is not valid"}${rest}`;
  },
  REQUEST_ID_REUSED: (m) =>
    `request_id ${quoted(m, "request_id")} was used before for another request; use a new request_id`,
  MEMBER_ID_EXISTS: (m) =>
    `id ${m["id"] ?? ""} is or was the id of a member; call again with a new request_id to get another id`,
  MEMBER_NAME_EXISTS: (m) =>
    m["started"] !== "false"
      ? `${who(m)} exists already; choose another name or remove that member first`
      : m["peer_url"] === m["given_peer_url"]
        ? `${who(m)} exists already with this peer URL, and has never started; start it`
        : `${who(m)} exists already with the peer URL ${quoted(m, "peer_url")}, and has never started; ` +
          `start it there, or give it the other one with: ` +
          `muster member update ${m["name"] ?? ""} --peer-url ${m["given_peer_url"] ?? ""}`,
  PEER_URL_EXISTS: (m) =>
    `peer URL ${quoted(m, "peer_url")} belongs to ${who(m)}; every member needs a peer URL of its own`,
  MEMBER_NOT_FOUND: (m) => {
    const asked = m["id"] === undefined ? `is named ${quoted(m, "name")}` : `has the id ${m["id"]}`;
    return `no member ${asked}; list the members to see which there are`;
  },
  MEMBER_REMOVED: (m) =>
    `${who(m)} was permanently removed at revision ${m["revision"] ?? ""} (${m["time"] ?? ""}); ` +
    "its id is never used again: add a new member instead",
  LAST_VOTER: (m) => `${who(m)} is the last voter and can't be removed; add another voter first`,
  MEMBER_MISMATCH: (m) =>
    m["given_peer_url"] === undefined
      ? `id ${m["id"] ?? ""} belongs to ${who(m)}, not to ${quoted(m, "given_name")}; name one member`
      : `${who(m)} has the peer URL ${quoted(m, "peer_url")}, not ${quoted(m, "given_peer_url")}; ` +
        "check that it is the member you mean",
  MEMBER_WIPED: (m) =>
    `${who(m)} started before with another data directory; remove it and add it again as a new member`,
  MEMBER_ROLLED_BACK: (m) =>
    `${who(m)} runs from an older copy of its data directory, or a second process runs from a copy; ` +
    "stop it, remove the member and add it again with an empty data directory",
  TOO_MANY_LEARNERS: (m) =>
    `${m["max"] ?? ""} members are no voters already, and there can't be more; promote or remove one of them first`,
  REPLACEMENT_UNDER_WAY: (m) =>
    `${who(m)} is about to take the place of member ${quoted(m, "replaced_name")} (id ${m["replaced_id"] ?? ""}); ` +
    `wait until it has, or cancel that first: muster member remove ${m["name"] ?? ""}`,
  REVISION_MISMATCH: (m) =>
    `the roster is at revision ${m["revision"] ?? ""}, not at the expected ${m["expected_revision"] ?? ""}; ` +
    "read it again, then decide again",
  TOO_MANY_REQUESTS: () =>
    "too many writes with request ids of their own were made in the last ten minutes, and each is remembered; " +
    "nothing was changed: try again later",
  NOT_PROPOSED: () =>
    "this attempt came too late: what became of an earlier one may be forgotten; it changed nothing, call again",
  INTERNAL: () => "the proposed membership change does not fit its command; nothing was changed, call again",
} as const satisfies Partial<Record<Reason, (m: Metadata) => string>>;

/** The reasons that apply can decide on. */
type RosterReason = keyof typeof MESSAGES;

/** A refusal with the message of its reason. */
export function refuse(reason: RosterReason, metadata: Metadata): Refusal {
  const message = MESSAGES[reason](metadata);
  const { field, problem } = metadata;
  if (reason !== "INVALID_REQUEST" || field === undefined || problem === undefined) {
    return { reason, message, metadata };
  }
  return { reason, message, metadata, violations: [{ field, description: problem }] };
}

/**
 * The refusal of a request that is malformed in one or more fields.
 *
 * Lists the first MAX_VIOLATIONS of them and counts the rest: the details travel in the answer's headers, whose size is
 * limited.
 *
 * @param violations at least one
 */
export function refuseInvalid(violations: readonly FieldViolation[]): Refusal {
  const [first, ...others] = violations;
  const metadata: Record<string, string> = {
    field: first?.field ?? "request",
    problem: first?.description ?? "is not valid",
  };
  if (others.length > 0) metadata["more"] = String(others.length);
  return { ...refuse("INVALID_REQUEST", metadata), violations: violations.slice(0, MAX_VIOLATIONS) };
}

/** How many violations one refusal lists. */
export const MAX_VIOLATIONS = 10;

/** Whether this build knows the reason. A remembered outcome may have one of a newer version. */
export function isReason(reason: string): reason is Reason {
  return isRosterReason(reason) || Object.hasOwn(ErrorReason, reason);
}

/** Whether this build's apply decides on the reason. A remembered outcome may have a reason of a newer version. */
export function isRosterReason(reason: string): reason is RosterReason {
  return Object.hasOwn(MESSAGES, reason);
}

function quoted(metadata: Metadata, key: string): string {
  return quote(metadata[key] ?? "");
}

function who(metadata: Metadata): string {
  return `member ${quoted(metadata, "name")} (id ${metadata["id"] ?? ""})`;
}
