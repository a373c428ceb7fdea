/**
 * Reports the failure of a command: one line with the reason, the refused fields, a hint on what to do next, and the
 * exit code.
 */
import { ClientConfigError, MusterError } from "../client";
import type { ErrorReason } from "../generated/muster/v1/errors";
import { ExitCode, UsageError } from "./io";
import type { Io } from "./io";
import { printable } from "./output";

type ReasonName = Exclude<keyof typeof ErrorReason, "UNSPECIFIED" | "UNRECOGNIZED">;

/**
 * What to do next, by reason. Null: the text and the field violations need no addition. A missing row does not
 * compile.
 */
const HINTS: Readonly<Record<ReasonName, string | null>> = {
  INVALID_REQUEST: null,
  REQUEST_ID_REUSED: "choose another --request-id for another request",
  MEMBER_ID_EXISTS: "try again: the next attempt gets another id",
  MEMBER_NAME_EXISTS: "`muster member list` shows the names in use",
  PEER_URL_EXISTS: "`muster member list` shows the peer URLs in use",
  MEMBER_NOT_FOUND: "`muster member list` shows names and ids",
  MEMBER_REMOVED: "a new member needs an empty data directory",
  NOT_ENOUGH_STARTED_MEMBERS: "start the members that never ran, or remove them, then try again",
  UNHEALTHY_CLUSTER:
    "bring the members back that do not answer, or remove them, then try again; `muster cluster` shows them",
  LAST_VOTER: "add another member first",
  LEARNER_NOT_READY: "it is promoted by itself when it is ready; `muster cluster` shows how far behind it is",
  TOO_MANY_LEARNERS: "`muster member list` shows them",
  FEATURE_NOT_READY: "`muster cluster` shows the version of each member",
  MEMBER_IN_CONTACT:
    "to replace a member that runs, give the new one a name and a --peer-url; `muster cluster` shows which members answer",
  REPLACEMENT_UNDER_WAY: "`muster member list` shows which member replaces which",
  MEMBER_MISMATCH: "compare name, id and peer URL with `muster member list`",
  MEMBER_WIPED: "`muster member replace NAME` makes it anew",
  MEMBER_ROLLED_BACK:
    "stop that member, make it anew with `muster member replace NAME`, start it with an empty data directory",
  NOT_LEADER: "ask the leader; `muster cluster` shows it",
  CLUSTER_ID_MISMATCH: "check --endpoints: the members belong to different clusters",
  REVISION_MISMATCH: "the roster changed meanwhile: look at it again, then repeat with its revision",
  REVISION_COMPACTED: "watch again without --from: it begins with the roster as it is now",
  TOO_MANY_REQUESTS: "try again later",
  DISK_FULL: "make space on the leader's disk, then try again",
  NO_LEADER:
    "check that a majority of the members runs; `muster cluster --serializable` asks one member alone",
  NO_QUORUM:
    "check that a majority of the members runs; `muster cluster --serializable` asks one member alone",
  SERVER_STOPPING: "ask another member with --endpoints",
  OUTCOME_UNKNOWN: null, // hintFor() adds it, with the request id
  NOT_PROPOSED: "nothing was changed; try again, or allow more time with --timeout",
  TRANSFER_FAILED: "`muster cluster` shows who leads, and which voters are in contact",
  INTERNAL: "the member's log has the details",
};

/** Names of the status codes that mean that no member decided, as opposed to a refusal. */
const UNAVAILABLE_LABELS: ReadonlySet<string> = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"]);
/** Reasons that mean the same. */
const UNAVAILABLE_REASONS: ReadonlySet<string> = new Set([
  "NO_LEADER",
  "NO_QUORUM",
  "SERVER_STOPPING",
  "OUTCOME_UNKNOWN",
  "NOT_PROPOSED",
] satisfies ReasonName[]);

/** A change failed that a person had confirmed for the roster at one revision. */
export class ConfirmedChangeError extends Error {
  constructor(
    readonly failure: MusterError,
    readonly revision: bigint,
  ) {
    super(failure.message, { cause: failure });
    this.name = "ConfirmedChangeError";
  }
}

/** Prints why a command failed. @returns the exit code */
export function reportFailure(thrown: unknown, io: Io): number {
  if (thrown instanceof UsageError || thrown instanceof ClientConfigError) {
    io.stderr.write(`muster: ${printable(thrown.message)}\n`);
    return ExitCode.Usage;
  }
  if (thrown instanceof ConfirmedChangeError) {
    const { failure, revision } = thrown;
    io.stderr.write(describe(failure, confirmedHint(failure, revision)));
    return exitCode(failure);
  }
  if (thrown instanceof MusterError) {
    io.stderr.write(describe(thrown, hintFor(thrown)));
    return exitCode(thrown);
  }
  io.stderr.write(`muster: ${printable(thrown instanceof Error ? thrown.message : String(thrown))}\n`);
  return ExitCode.Refused;
}

function exitCode(error: MusterError): number {
  return isUnavailable(error) ? ExitCode.Unavailable : ExitCode.Refused;
}

/** Whether the call failed because no member decided it, and not because it was refused. */
export function isUnavailable(error: MusterError): boolean {
  return error.reason === undefined
    ? UNAVAILABLE_LABELS.has(error.label)
    : UNAVAILABLE_REASONS.has(error.reason);
}

function describe(error: MusterError, hint: string | undefined): string {
  const lines = [`muster: ${printable(error.label)}: ${printable(error.message)}`];
  for (const { field, description } of error.violations) {
    lines.push(`  ${printable(field)}: ${printable(description)}`);
  }
  if (hint !== undefined) lines.push(`  ${hint}`);
  return `${lines.join("\n")}\n`;
}

/** What to repeat has the revision in it, so that it is the same request; after another change the question is another one. */
function confirmedHint(error: MusterError, revision: bigint): string | undefined {
  if (error.reason === "REVISION_MISMATCH")
    return "the roster changed after the question was asked; repeat the command to be asked about it as it is now";
  const hint = hintFor(error);
  return error.reason === "OUTCOME_UNKNOWN" && error.requestId !== undefined
    ? `${hint ?? ""} --expected-revision ${String(revision)}`
    : hint;
}

function hintFor(error: MusterError): string | undefined {
  if (error.reason === "OUTCOME_UNKNOWN") {
    const id = printable(error.requestId ?? "");
    if (id === "") return "look with `muster cluster` before you repeat the command";
    return `the change may have been made; repeat the command with --request-id ${id}`;
  }
  const hint = error.reason === undefined ? undefined : hints.get(error.reason);
  const wait =
    error.retryDelayMs === undefined ? "" : ` (in ${String(Math.ceil(error.retryDelayMs / 1000))} s)`;
  if (hint !== undefined) return `${hint}${wait}`;
  if (error.reason === undefined && !error.sent) {
    return "no member answers there; --endpoints or MUSTER_ENDPOINTS says where to ask";
  }
  return undefined;
}

/** HINTS as a map: the reason comes from a peer, and a lookup in an object would also find inherited properties. */
const hints: ReadonlyMap<string, string> = new Map(
  Object.entries(HINTS).flatMap(([reason, hint]) => (hint === null ? [] : [[reason, hint] as const])),
);
