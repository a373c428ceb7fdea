/**
 * What a member is told at its start: a YAML file with kingbus's keys, overridden by MUSTER_* variables, overridden by
 * flags. Every mistake is one clear error, at once.
 */
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { normaliseUrl, quote, validateName } from "../roster/index";
import { LOG_LEVELS } from "./logger";
import type { LogLevel } from "./logger";

export interface InitialMember {
  readonly name: string;
  /** Normalised. */
  readonly peerUrl: string;
}

/** Settings of one member. Durations in milliseconds. */
export interface ServerConfig {
  /** Unique in the cluster: 1 to 128 letters, digits, '.', '_', '-'. */
  readonly name: string;
  /** Where clients reach it, and where it listens for them. */
  readonly adminUrl: string;
  /** Where members reach it, and where it listens for them. */
  readonly peerUrl: string;
  /** @default 100: well above a round trip in one site */
  readonly heartbeatMs: number;
  /** @default 1000: ten heartbeats may be lost before a follower campaigns */
  readonly electionMs: number;
  /** Only read at the first start; empty when not given. */
  readonly initialCluster: readonly InitialMember[];
  /** `new`: all of initialCluster start together; `existing`: initialCluster only finds a running cluster. @default new */
  readonly initialClusterState: "new" | "existing";
  /** Makes the ids of this cluster differ from those of another with the same names and URLs. @default empty */
  readonly initialClusterToken: string;
  readonly dataDir: string;
  readonly logLevel: LogLevel;
}

/** The configuration is wrong; the message is one line that says what and where. */
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
  "heartbeat-interval",
  "election-timeout",
  "initial-cluster",
  "initial-cluster-state",
  "initial-cluster-token",
  "data-dir",
  "log-level",
] as const;

/** Keys of the format whose feature does not exist yet. */
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
    value = parse(text);
  } catch (error) {
    const message = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new ConfigError(`${file}: not YAML: ${message ?? ""}`);
  }
  if (value === null) return {};
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
  const adminUrl = url(text("admin-url"), where("admin-url"));
  const peerUrl = url(text("peer-url"), where("peer-url"));
  if (adminUrl === peerUrl)
    throw new ConfigError(`${where("peer-url")}: is the same as admin-url; use another port`);
  return {
    name,
    adminUrl,
    peerUrl,
    heartbeatMs,
    electionMs,
    initialCluster: parseInitialCluster(text("initial-cluster", ""), where("initial-cluster")),
    initialClusterState: oneOf(
      text("initial-cluster-state", "new"),
      ["new", "existing"],
      where("initial-cluster-state"),
    ),
    initialClusterToken: text("initial-cluster-token", ""),
    dataDir: text("data-dir"),
    logLevel: oneOf(text("log-level", "info"), LOG_LEVELS, where("log-level")),
  };
}

/**
 * What a first start needs besides: a member that finds its data directory ignores initial-cluster, which may by then
 * be out of date.
 *
 * @throws ConfigError
 */
export function checkFirstStart({
  name,
  peerUrl,
  initialCluster: members,
}: Pick<ServerConfig, "name" | "peerUrl" | "initialCluster">): void {
  if (members.length === 0) {
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

function textReader(raw: Readonly<Record<string, unknown>>, where: Where) {
  return (key: string, fallback?: string): string => {
    const value = raw[key];
    if (value === undefined || value === null || value === "") {
      if (fallback !== undefined) return fallback;
      throw new ConfigError(
        `${where(key)}: required; set it in the file, as --${key}, or in the environment`,
      );
    }
    // A name such as 1 or a token such as 007 is a number to YAML.
    if (typeof value === "string") return value;
    if (typeof value === "number") return String(value);
    throw new ConfigError(`${where(key)}: must be a text`);
  };
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

function url(value: string, where: string): string {
  const result = normaliseUrl(value);
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
 * The members that `name=peer-url,...` names, URLs normalised.
 *
 * @param where what an error calls it
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
    const result = normaliseUrl(part.slice(at + 1));
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
