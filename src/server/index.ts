/**
 * The package entry for a process that runs a member: `import { startServer } from "muster/server"`. No other module of
 * the server is exported.
 *
 *     const server = await startServer(loadConfig({ file: "node.yaml", flags: {}, env: process.env }));
 *     await server.stop();
 */
import type { Log } from "../base/log";
import type { ServerConfig } from "./config";
import { startMember } from "./member";

export type { Log, LogFields } from "../base/log";
export { VERSION } from "../base/version";
export { CONFIG_KEYS, ConfigError, loadConfig } from "./config";
export type { ConfigSources, InitialMember, ServerConfig } from "./config";
export { StartRefusedError } from "./errors";
export type { LogLevel } from "./logger";

/** A running member. */
export interface Server {
  /** Stops gracefully: transfers leadership and answers the calls that can be answered. Settles when the log is closed. */
  stop(): Promise<void>;
  /**
   * Settles with an exit code when the member ends by itself: it was removed, it lost its data directory and the cluster
   * refuses it, or its log can't be written.
   */
  readonly exited: Promise<number>;
}

export interface StartOptions {
  /**
   * Receives the member's log lines, of every level. Pass one to log in the format of the surrounding program.
   * @default JSON lines on standard error from config.logLevel on, in a readable form on a terminal
   */
  readonly log?: Log;
}

/**
 * Starts one member in this process. Settles when the member serves; a joining member first waits until the cluster has
 * added it.
 *
 * @throws ConfigError, StartRefusedError or DataDirError, each with a message of one line
 */
export function startServer(config: ServerConfig, { log }: StartOptions = {}): Promise<Server> {
  return startMember(config, log === undefined ? {} : { log });
}
