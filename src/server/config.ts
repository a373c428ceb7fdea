/**
 * The configuration of a member: a YAML file with kingbus's keys, overridden by MUSTER_* environment variables, which
 * are overridden by flags. The first mistake found is reported as one error with its place.
 */
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { normalisePeerUrl, normaliseReachableUrl, normaliseUrl, quote, validateName } from "../roster/index";
import { LOG_LEVELS } from "./logger";
import type { LogLevel } from "./logger";

export interface InitialMember {
  readonly name: string;
  /** Normalised. */
  readonly peerUrl: string;
}

/** What a member that joins becomes. */
const JOIN_TARGETS = ["voter", "learner", "standby"] as const;
export type JoinTarget = (typeof JOIN_TARGETS)[number];

/** How a member joins a running cluster by itself. */
export interface JoinConfig {
  /**
   * Where members of the cluster answer, by their admin or their peer URLs, in normal form; at least one. They are asked side
   * by side, so that one that is down costs nothing. A member that has its data directory looks for the others there too.
   */
  readonly urls: readonly string[];
  /**
   * What the member becomes: `voter` once it has the log, `learner` never votes, `standby` may take a lost voter's place.
   * Read when the member adds itself, and not changed by it later.
   * @default voter
   */
  readonly target: JoinTarget;
  /**
   * Whether a member that the cluster knows, and whose data directory is empty now, replaces itself: the cluster gives it a
   * new id, and the lost directory can't come back. Leave it off where a directory may be missing for a moment only, such as
   * a volume that is not mounted yet.
   * @default false: the start is refused with the command that does it
   */
  readonly replaceIfWiped: boolean;
}

/** Settings of one member. Every URL has a host and a port and is normalised. */
export interface ServerConfig {
  /** The member's name, unique in the cluster: 1 to 128 letters, digits, '.', '_', '-'. No default. */
  readonly name: string;
  /** URL at which clients reach it, and of the listener for them unless listenAdminUrl is given. No default. */
  readonly adminUrl: string;
  /**
   * URL at which other members reach it, and of the listener for them unless listenPeerUrl is given. Must differ from
   * adminUrl. No default.
   */
  readonly peerUrl: string;
  /**
   * Where to listen for clients, for a member that is reached elsewhere: behind a port mapping of a container, or on
   * every address of the machine (http://0.0.0.0:7460). Leave it out to listen only where the member is reached.
   * @default adminUrl
   */
  readonly listenAdminUrl?: string;
  /** Where to listen for other members, as listenAdminUrl is for clients. @default peerUrl */
  readonly listenPeerUrl?: string;
  /**
   * Time between two heartbeats of the leader, which is also the length of a tick. Unit: milliseconds, from 10 to 60000.
   *
   * Raise it where a round trip between members takes longer, together with electionMs, and to send fewer messages;
   * lower it only together with electionMs, for a quicker failover. Use the same value on every member.
   * @default 100: well above a round trip within one site
   */
  readonly heartbeatMs: number;
  /**
   * Shortest time without a message from the leader after which a follower campaigns; the actual time is drawn between
   * one and two of these. At least five heartbeats. Unit: milliseconds, from 10 to 60000.
   *
   * Raise it where pauses or a bad network cause elections although the leader runs; lower it to be without a leader for
   * a shorter time after one fails. Use the same value on every member.
   * @default 1000: about ten heartbeats may be lost in a row before a follower campaigns
   */
  readonly electionMs: number;
  /**
   * The members of a new cluster, or the members to ask when joining a running one; this member included. Required at
   * the first start unless `join` is given, and a hint where members may be found at later ones, when the data directory has
   * the newer list.
   * @default empty
   */
  readonly initialCluster: readonly InitialMember[];
  /**
   * `new`: the members of initialCluster form a new cluster. `existing`: this member asks the members of initialCluster
   * until the running cluster has added it. Read at the first start only.
   * @default new
   */
  readonly initialClusterState: "new" | "existing";
  /**
   * At the first start, adds this member to the running cluster of these members. initialCluster is not needed then.
   * @default the member does not add itself
   */
  readonly join?: JoinConfig;
  /**
   * Part of the hash of every id of a new cluster. Set it where another cluster has had the same names and URLs, so that
   * the two can't take each other's members for their own. The same on every member; read at the first start only.
   * @default empty
   */
  readonly initialClusterToken: string;
  /** Path of the data directory, created at the first start. Belongs to one process at a time. No default. */
  readonly dataDir: string;
  /**
   * The least severe level that is logged. Use `debug` for diagnosis, `warn` or `error` to see problems only.
   * @default info
   */
  readonly logLevel: LogLevel;
}

/** The configuration is invalid. The message is one line with the place and the problem. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ConfigError";
  }
}

/** Every key of the file, its flag `--key` and its variable `MUSTER_KEY`. */
export const CONFIG_KEYS = [
  "name",
  "admin-url",
  "peer-url",
  "listen-admin-url",
  "listen-peer-url",
  "heartbeat-interval",
  "election-timeout",
  "initial-cluster",
  "initial-cluster-state",
  "initial-cluster-token",
  "join",
  "join-target",
  "replace-if-wiped",
  "data-dir",
  "log-level",
] as const;

/** Keys that the file format has but that are not supported yet. */
const NOT_YET = ["metrics-addr"];

export interface ConfigSources {
  /** Path of the YAML file. */
  readonly file?: string;
  /** By key, without leading dashes. */
  readonly flags: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** @throws ConfigError */
export function loadConfig(sources: ConfigSources): ServerConfig {
  const raw: Record<string, unknown> = sources.file === undefined ? {} : readFile(sources.file);
  const origin = new Map<string, string>(
    Object.keys(raw).map((key) => [key, `${sources.file ?? ""}: ${key}`]),
  );
  for (const key of [...CONFIG_KEYS, ...NOT_YET]) {
    const variable = `MUSTER_${key.toUpperCase().replaceAll("-", "_")}`;
    const value = sources.env[variable];
    if (value !== undefined && value !== "") {
      raw[key] = value;
      origin.set(key, variable);
    }
  }
  for (const [key, value] of Object.entries(sources.flags)) {
    raw[key] = value;
    origin.set(key, `--${key}`);
  }
  return check(raw, (key) => origin.get(key) ?? key);
}

function readFile(file: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(
      `${file}: can't be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  let value: unknown;
  try {
    // The failsafe schema leaves every value the text that it is: a name such as 007, 1e3 or true stays that name.
    value = parse(text, { schema: "failsafe" });
  } catch (error) {
    const message = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new ConfigError(`${file}: not YAML: ${message ?? ""}`);
  }
  if (value === null || value === "") return {};
  const parsed = z.record(z.string(), z.unknown()).safeParse(value);
  if (!parsed.success) throw new ConfigError(`${file}: must be keys with values, one a line`);
  return { ...parsed.data };
}

type Where = (key: string) => string;

function check(raw: Readonly<Record<string, unknown>>, where: Where): ServerConfig {
  for (const key of Object.keys(raw)) {
    if (NOT_YET.includes(key)) throw new ConfigError(`${where(key)}: not supported yet; leave it out`);
    if (!(CONFIG_KEYS as readonly string[]).includes(key)) {
      throw new ConfigError(`${where(key)}: unknown key; known are ${CONFIG_KEYS.join(", ")}`);
    }
  }
  const text = textReader(raw, where);
  const name = text("name");
  const nameProblem = validateName(name);
  if (nameProblem !== null) throw new ConfigError(`${where("name")}: ${nameProblem}`);
  const heartbeatMs = milliseconds(raw, where, "heartbeat-interval", 100);
  const electionMs = milliseconds(raw, where, "election-timeout", 1000);
  if (electionMs < 5 * heartbeatMs) {
    throw new ConfigError(
      `${where("election-timeout")}: ${String(electionMs)} ms is less than 5 heartbeat intervals of ${String(heartbeatMs)} ms; ` +
        "one lost heartbeat would cost the leader",
    );
  }
  const join = joining(raw, text, where);
  return {
    name,
    ...urls(text, where),
    heartbeatMs,
    electionMs,
    initialCluster: parseInitialCluster(text("initial-cluster", ""), where("initial-cluster")),
    initialClusterState: oneOf(
      text("initial-cluster-state", join === null ? "new" : "existing"),
      ["new", "existing"],
      where("initial-cluster-state"),
    ),
    ...(join === null ? {} : { join }),
    initialClusterToken: text("initial-cluster-token", ""),
    dataDir: text("data-dir"),
    logLevel: oneOf(text("log-level", "info"), LOG_LEVELS, where("log-level")),
  };
}

/** A member's own addresses and those of others. */
type Addresses = Pick<ServerConfig, "name" | "peerUrl" | "initialCluster"> &
  Partial<Pick<ServerConfig, "adminUrl" | "join">>;

/**
 * Checks initial-cluster and the addresses of join, which only a first start needs: a member with a data directory takes
 * them for hints, because they may be out of date by then.
 *
 * @throws ConfigError
 */
export function checkFirstStart(config: Addresses): void {
  const { name, peerUrl, initialCluster: members, join } = config;
  if (join !== undefined && otherAddresses(config).length === 0) {
    throw new ConfigError("join: has only this member's own addresses; name another member of the cluster");
  }
  if (members.length === 0) {
    if (join !== undefined) return;
    throw new ConfigError(
      "initial-cluster: required at the first start: name=peer-url for each member, comma-separated",
    );
  }
  const own = members.find((member) => member.name === name);
  if (own === undefined) {
    const names = members.map((member) => member.name).join(", ");
    throw new ConfigError(`initial-cluster: does not name this member, ${quote(name)}; it names ${names}`);
  }
  if (own.peerUrl !== peerUrl) {
    throw new ConfigError(
      `initial-cluster: gives ${quote(name)} the peer URL ${own.peerUrl}, but peer-url is ${peerUrl}`,
    );
  }
}

/** Where a member that starts asks for others: at the addresses of join and of initial-cluster, without its own. */
export function otherAddresses({
  name,
  adminUrl,
  peerUrl,
  initialCluster,
  join,
}: Addresses): readonly string[] {
  const listed = initialCluster.filter((member) => member.name !== name).map((member) => member.peerUrl);
  const urls = new Set([...(join?.urls ?? []), ...listed]);
  urls.delete(peerUrl);
  if (adminUrl !== undefined) urls.delete(adminUrl);
  return [...urls];
}

function joining(
  raw: Readonly<Record<string, unknown>>,
  text: ReturnType<typeof textReader>,
  where: Where,
): JoinConfig | null {
  // Given and empty is a mistake, such as a variable of a script that is not set.
  if (raw["join"] === undefined || (raw["join"] !== "" && isNothing("join", raw["join"]))) {
    for (const key of ["join-target", "replace-if-wiped"]) {
      if (isNothing(key, raw[key]) || raw[key] === "false") continue;
      throw new ConfigError(`${where(key)}: has a meaning only with join, which is not given`);
    }
    return null;
  }
  if (raw["initial-cluster-state"] === "new") {
    throw new ConfigError(
      `${where("join")}: contradicts initial-cluster-state new: a member joins a running cluster or forms a new one`,
    );
  }
  return {
    urls: parseJoin(text("join", ""), where("join")),
    target: oneOf(text("join-target", "voter"), JOIN_TARGETS, where("join-target")),
    replaceIfWiped:
      oneOf(text("replace-if-wiped", "false"), ["true", "false"], where("replace-if-wiped")) === "true",
  };
}

/** Parses `host:port,...`; an address may have `http://` in front. @throws ConfigError */
function parseJoin(text: string, where: string): string[] {
  const urls = new Set<string>();
  for (const part of text.split(",").map((piece) => piece.trim())) {
    if (part === "") continue;
    const result = normalisePeerUrl(part.includes("://") ? part : `http://${part}`);
    if (!result.ok) throw new ConfigError(`${where}: ${quote(part)} is no host:port: ${result.problem}`);
    urls.add(result.url);
  }
  if (urls.size === 0)
    throw new ConfigError(`${where}: is empty; give host:port of one member or more, comma-separated`);
  return [...urls];
}

function textReader(raw: Readonly<Record<string, unknown>>, where: Where) {
  return (key: string, fallback?: string): string => {
    const value = raw[key];
    if (isNothing(key, value)) {
      if (fallback !== undefined) return fallback;
      throw new ConfigError(
        `${where(key)}: required; set it in the file, as --${key}, or in the environment`,
      );
    }
    if (typeof value === "string") return value;
    throw new ConfigError(`${where(key)}: must be a text`);
  };
}

/** "~" and "null" are how YAML writes nothing; only a name may be "null", as it may be "true" or "007". */
function isNothing(key: string, value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === "~") return true;
  return value === "null" && key !== "name";
}

function milliseconds(
  raw: Readonly<Record<string, unknown>>,
  where: Where,
  key: string,
  fallback: number,
): number {
  const value = raw[key] ?? fallback;
  const number =
    typeof value === "number"
      ? value
      : typeof value === "string" && /^\d+$/.test(value)
        ? Number(value)
        : NaN;
  if (!Number.isInteger(number) || number < 10 || number > 60_000) {
    throw new ConfigError(`${where(key)}: must be a whole number of milliseconds from 10 to 60000`);
  }
  return number;
}

type Urls = Pick<ServerConfig, "adminUrl" | "peerUrl" | "listenAdminUrl" | "listenPeerUrl">;

function urls(text: ReturnType<typeof textReader>, where: Where): Urls {
  const adminUrl = url(text("admin-url"), where("admin-url"), normaliseReachableUrl);
  const peerUrl = url(text("peer-url"), where("peer-url"), normalisePeerUrl);
  if (adminUrl === peerUrl)
    throw new ConfigError(`${where("peer-url")}: is the same as admin-url; use another port`);
  const listening = (key: string): string | null => {
    const value = text(key, "");
    return value === "" ? null : url(value, where(key), normaliseUrl);
  };
  const listenAdminUrl = listening("listen-admin-url");
  const listenPeerUrl = listening("listen-peer-url");
  if ((listenAdminUrl ?? adminUrl) === (listenPeerUrl ?? peerUrl)) {
    const key = listenPeerUrl === null ? "listen-admin-url" : "listen-peer-url";
    throw new ConfigError(
      `${where(key)}: clients and members can't be listened for at one address; use another port`,
    );
  }
  return {
    adminUrl,
    peerUrl,
    ...(listenAdminUrl === null ? {} : { listenAdminUrl }),
    ...(listenPeerUrl === null ? {} : { listenPeerUrl }),
  };
}

function url(value: string, where: string, normalise: typeof normaliseUrl): string {
  const result = normalise(value);
  if (!result.ok) throw new ConfigError(`${where}: ${quote(value)}: ${result.problem}`);
  if (result.url.startsWith("https://")) {
    throw new ConfigError(`${where}: ${quote(value)}: listening with TLS is not supported yet; use http://`);
  }
  return result.url;
}

function oneOf<T extends string>(value: string, allowed: readonly T[], where: string): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined)
    throw new ConfigError(`${where}: ${quote(value)} is not one of ${allowed.join(", ")}`);
  return found;
}

/**
 * Parses `name=peer-url,...` and normalises the URLs.
 *
 * @param where the source of the text, for error messages
 * @throws ConfigError
 */
export function parseInitialCluster(text: string, where: string): InitialMember[] {
  const members: InitialMember[] = [];
  for (const part of text.split(",").map((piece) => piece.trim())) {
    if (part === "") continue;
    const at = part.indexOf("=");
    if (at < 0) throw new ConfigError(`${where}: ${quote(part)} is not of the form name=peer-url`);
    const name = part.slice(0, at);
    const problem = validateName(name);
    if (problem !== null) throw new ConfigError(`${where}: ${quote(name)}: ${problem}`);
    const result = normalisePeerUrl(part.slice(at + 1));
    if (!result.ok) throw new ConfigError(`${where}: ${quote(part.slice(at + 1))}: ${result.problem}`);
    if (members.some((member) => member.name === name))
      throw new ConfigError(`${where}: names ${quote(name)} twice`);
    if (members.some((member) => member.peerUrl === result.url)) {
      throw new ConfigError(`${where}: has the peer URL ${result.url} twice`);
    }
    members.push({ name, peerUrl: result.url });
  }
  return members;
}
