/**
 * The results of commands as text: aligned columns for people, one line of proto3 JSON for programs.
 *
 * Text from a member is printed without control characters, because a terminal would execute escape sequences in it.
 */
import type { GetClusterResponse, Member, MemberStatus, ResponseHeader } from "../client";
import { MemberRole, MemberTarget } from "../client";
import type { Duration } from "../generated/google/protobuf/duration";
import { durationJson, milliseconds } from "./durations";
import { changedSettings } from "./setting_list";

/** How results are printed. */
export type OutputFormat = "table" | "json";

/** Printed in place of a missing value. */
const NOTHING = "-";
/** Printed in place of a value that the answering member can't know. */
const UNKNOWN = "unknown how many";

/** The text without control characters, line breaks and lone surrogates: each becomes a question mark. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\u2028\u2029]/gu, "?");
}

/** Columns as wide as their widest cell, two spaces apart, no trailing spaces. Ends with a line break. */
export function renderTable(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [headers, ...rows].map((row) => row.map((cell) => printable(cell === "" ? NOTHING : cell)));
  const widths = headers.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const lines = cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

/** A table with one line for each member. */
export function memberTable(members: readonly Member[], leaderId: string): string {
  const headers = ["ID", "NAME", "ROLE", "TARGET", "STARTED", "LEADER", "PEER URL", "ADMIN URL"];
  const rows = members.map((member) => [
    member.id,
    member.name,
    roleName(member.role),
    targetName(member, members),
    yesNo(member.started),
    yesNo(leaderId !== "" && member.id === leaderId),
    member.peerUrls.join(","),
    member.adminUrls.join(","),
  ]);
  return renderTable(headers, rows);
}

/** A summary of the cluster, then a table of its members with their state. */
export function clusterText(cluster: GetClusterResponse): string {
  const { header } = cluster;
  const members = cluster.members.flatMap(({ member }) => (member === undefined ? [] : [member]));
  const voters = members.filter((member) => member.role === MemberRole.VOTER).length;
  const leaderId = header?.leaderId ?? "";
  const leader = leaderId === "" ? "no leader" : `leader ${nameOf(members, leaderId)}`;
  const summary = [
    `cluster ${printable(header?.clusterId ?? NOTHING)}: ${leader}, term ${String(header?.raftTerm ?? 0n)}, ` +
      `revision ${String(header?.revision ?? 0n)}`,
    `quorum: ${String(cluster.quorumSize)} of ${String(voters)} voters, ` +
      `${cluster.failuresToleratedKnown ? String(cluster.failuresTolerated) : UNKNOWN} more may fail now`,
    `log: committed ${String(cluster.commitIndex)}, applied ${String(cluster.appliedIndex)}, ` +
      `as ${nameOf(members, header?.memberId ?? "")} knows it`,
    ...versionLines(cluster),
    ...settingsLines(cluster),
    ...replacements(members).map((replacement) => `${replacement} as soon as it is ready`),
  ];
  return `${summary.join("\n")}\n\n${statusTable(cluster.members, members)}`;
}

/** Nothing before the first publish, and of a member of an older version. */
function versionLines({ clusterVersion, features }: GetClusterResponse): string[] {
  if (clusterVersion === "") return [];
  const known = features.length === 0 ? "none" : features.join(", ");
  return [printable(`version: all members know ${clusterVersion}; features: ${known}`)];
}

function settingsLines({ settings }: GetClusterResponse): string[] {
  const changed = changedSettings(settings);
  return changed === "" ? [] : [`settings: ${changed}`];
}

/** "n4 replaces n1", for each that is under way. */
export function replacements(members: readonly Member[]): string[] {
  return members.flatMap(({ name, replaces }) =>
    replaces === "" ? [] : [`${printable(name)} replaces ${shortName(members, replaces)}`],
  );
}

/** A member's name; its id when the name is not known. */
function shortName(members: readonly Member[], id: string): string {
  return printable(members.find((member) => member.id === id)?.name ?? id);
}

/** A member as `name (id)`; its id alone when the name is not known; "-" when `id` is empty. */
export function nameOf(members: readonly Member[], id: string): string {
  const member = members.find((candidate) => candidate.id === id);
  if (member !== undefined) return `${printable(member.name)} (${printable(id)})`;
  return id === "" ? NOTHING : printable(id);
}

/** One line with the revision and the member that answered. */
export function answeredBy(header: ResponseHeader | undefined, members: readonly Member[]): string {
  return `revision ${String(header?.revision ?? 0n)}, answered by ${nameOf(members, header?.memberId ?? "")}\n`;
}

/** A response as one line of proto3 JSON. */
export function jsonLine<T>(type: { toJSON(message: T): unknown }, message: T): string {
  return `${JSON.stringify(withDurations(type.toJSON(message), message))}\n`;
}

/**
 * The JSON with durations such as "1.5s": ts-proto writes them as messages. It has the shape of the message, but for the value
 * of a oneof, which is named after its case.
 */
function withDurations(json: unknown, message: unknown): unknown {
  if (Array.isArray(json) && Array.isArray(message))
    return json.map((item, i) => withDurations(item, message[i]));
  if (!isRecord(json) || !isRecord(message)) return json;
  if (isDuration(message)) return durationJson(message);
  const valueOf = (key: string): unknown =>
    message[key] ?? Object.values(message).find((value) => isRecord(value) && value["$case"] === key);
  return Object.fromEntries(
    Object.entries(json).map(([key, value]) => {
      const part = valueOf(key);
      return [key, withDurations(value, isRecord(part) && part["$case"] === key ? part["value"] : part)];
    }),
  );
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

/** A timestamp has the same fields, but is text in JSON. */
function isDuration(message: object): message is Duration {
  return (
    "seconds" in message &&
    "nanos" in message &&
    typeof message.seconds === "bigint" &&
    typeof message.nanos === "number"
  );
}

function statusTable(statuses: readonly MemberStatus[], members: readonly Member[]): string {
  const headers = [
    "ID",
    "NAME",
    "ROLE",
    "TARGET",
    "STATE",
    "MATCH",
    "LAG",
    "CONTACT",
    "VERSION",
    "PEER URL",
    "ADMIN URL",
  ];
  const rows = statuses.map((status) => {
    const { member } = status;
    return [
      member?.id ?? "",
      member?.name ?? "",
      member === undefined ? "" : roleName(member.role),
      member === undefined ? "" : targetName(member, members),
      stateOf(status),
      optional(status.matchIndex),
      optional(status.lagEntries),
      status.lastContact === undefined ? "" : shortTime(milliseconds(status.lastContact)),
      status.version,
      member?.peerUrls.join(",") ?? "",
      member?.adminUrls.join(",") ?? "",
    ];
  });
  return renderTable(headers, rows);
}

/** The state of a member in one or two words. Leading comes first, then a start that is not complete, then contact. */
export function stateOf(status: MemberStatus): string {
  const full = status.diskFull === true ? ", disk full" : "";
  return `${roleOrContact(status)}${full}`;
}

function roleOrContact(status: MemberStatus): string {
  if (status.isLeader) return "leader";
  if (status.member?.started === false) return status.reachable === true ? "starting" : "never started";
  if (status.reachable === undefined) return "unknown";
  return status.reachable ? "ok" : "unreachable";
}

/** A time in milliseconds, for people. */
export function shortTime(ms: number): string {
  return ms < 1000 ? `${String(Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function roleName(role: MemberRole): string {
  if (role === MemberRole.VOTER) return "voter";
  return role === MemberRole.LEARNER ? "learner" : "unknown";
}

/** What a member that does not vote is to become, and in whose place; nothing for a voter that takes nobody's place. */
function targetName({ role, target, replaces }: Member, members: readonly Member[]): string {
  const becomes = role === MemberRole.LEARNER ? nameOfTarget(target) : "";
  const place = replaces === "" ? "" : `replaces ${shortName(members, replaces)}`;
  return [becomes, place].filter((part) => part !== "").join(", ");
}

export function nameOfTarget(target: MemberTarget): string {
  return TARGET_NAMES.get(target) ?? "";
}

const TARGET_NAMES: ReadonlyMap<MemberTarget, string> = new Map<MemberTarget, string>([
  [MemberTarget.VOTER, "voter"],
  [MemberTarget.LEARNER, "learner"],
  [MemberTarget.STANDBY, "standby"],
]);

function yesNo(value: boolean): string {
  return value ? "yes" : "no";
}

function optional(value: bigint | undefined): string {
  return value === undefined ? "" : String(value);
}
