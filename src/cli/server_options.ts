/**
 * The flags of `muster server`: one for each key of the configuration file, with the name of the key.
 *
 * Values are passed on as text. src/server/config.ts checks and documents them, because the same keys also come from
 * the file and from the environment.
 */
import type { Command } from "commander";

const KEYS: readonly (readonly [key: string, placeholder: string, description: string])[] = [
  ["name", "name", "the member's name, unique in the cluster"],
  ["admin-url", "url", "where clients reach it; listens there"],
  ["peer-url", "url", "where the other members reach it; listens there"],
  ["listen-admin-url", "url", "where to listen for clients, if elsewhere than admin-url"],
  ["listen-peer-url", "url", "where to listen for members, if elsewhere than peer-url"],
  ["metrics-addr", "host:port", "reserved"],
  ["heartbeat-interval", "ms", "time between heartbeats of the leader"],
  ["election-timeout", "ms", "time without a leader before an election"],
  ["initial-cluster", "list", "first members: name=peer-url, comma-separated"],
  ["initial-cluster-state", "state", '"new", or "existing" to join a running cluster'],
  ["initial-cluster-token", "text", "tells clusters with equal names and URLs apart"],
  ["join", "list", "adds itself to the running cluster of these members: host:port, comma-separated"],
  ["join-target", "what", "what it becomes then: voter (default), learner or standby"],
  ["data-dir", "dir", "where the log and snapshots are"],
  ["log-level", "level", "least important messages to log"],
];

/** Keys that are true when they are given without a value. */
const SWITCHES: readonly (readonly [key: string, description: string])[] = [
  ["replace-if-wiped", "with --join: a member of the cluster whose data directory is empty replaces itself"],
];

/** The configuration on the command line. */
interface ServerFlags {
  /** The configuration file; undefined without --config. */
  readonly file: string | undefined;
  /** The values of the given flags, by key of the configuration file. */
  readonly flags: Record<string, string>;
}

/** Declares the flags of `muster server`. */
export function addServerOptions(command: Command): Command {
  command
    .description("run one member")
    .configureHelp({ showGlobalOptions: false })
    .option("--config <file>", "configuration file (YAML); flags and MUSTER_* variables override it")
    .addHelpText("after", "\nEvery key can be given as a variable: --data-dir is MUSTER_DATA_DIR.");
  for (const [key, placeholder, description] of KEYS)
    command.option(`--${key} <${placeholder}>`, description);
  for (const [key, description] of SWITCHES) command.option(`--${key} [true|false]`, description);
  return command;
}

/** The flags on the command line, by key. */
export function serverFlags(options: Readonly<Record<string, string | true>>, command: Command): ServerFlags {
  const flags: Record<string, string> = {};
  for (const option of command.options) {
    const value = options[option.attributeName()];
    const key = option.long?.slice(2);
    if (value !== undefined && key !== undefined && key !== "config") flags[key] = String(value);
  }
  const file = options["config"];
  return { file: file === undefined ? undefined : String(file), flags };
}
