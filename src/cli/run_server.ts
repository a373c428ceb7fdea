/**
 * `muster server`: runs one member until it is told to stop or ends by itself.
 *
 * The first SIGINT or SIGTERM stops it gracefully, exit code 0; a second one ends it at once, 130. A wrong
 * configuration is exit code 2, anything else that keeps it from starting 1, each with one line. A member
 * that ends by itself (removed from the cluster, log can't be written) has logged why, and decides its exit
 * code.
 */
import { ConfigError, loadConfig } from "../server/config";
import type { ConfigSources, ServerConfig } from "../server/config";
import { startServer } from "../server/server";
import { ExitCode } from "./io";
import type { Io, StopCause } from "./io";
import { printable } from "./output";

/** Where the configuration comes from; later ones win: file, environment, flags. */
export interface ServerSource {
  readonly file: string | undefined;
  readonly flags: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What this command needs of a running member. */
export interface RunningServer {
  stop(): Promise<void>;
  /** Settles with an exit code when the member ends by itself. */
  readonly exited: Promise<number>;
}

/** Starts a member. @throws ConfigError, or an error whose message is one line for people */
export type StartServer = (config: ServerConfig) => Promise<RunningServer>;

/** Runs until the end and returns the exit code. */
export async function runServer(
  source: ServerSource,
  io: Io,
  start: StartServer = startMember,
): Promise<number> {
  const { file, flags, env } = source;
  let config: ServerConfig;
  try {
    const sources: ConfigSources = { flags, env, ...(file === undefined ? {} : { file }) };
    config = loadConfig(sources);
  } catch (error) {
    return refused(error, io);
  }
  const stops = new StopRequests(io);
  try {
    return await supervise(start(config), stops, io);
  } finally {
    stops.close();
  }
}

async function supervise(starting: Promise<RunningServer>, stops: StopRequests, io: Io): Promise<number> {
  let server: RunningServer | undefined;
  try {
    // Stopping in the middle of a start is safe, as a crash there is: nothing was acknowledged yet.
    server = await Promise.race([starting, stops.first]);
  } catch (error) {
    return refused(error, io);
  }
  if (server === undefined) {
    starting.catch(() => undefined); // nobody waits for it any more
    io.stderr.write("muster: stopped before the start was complete\n");
    return ExitCode.Ok;
  }
  const ended = await Promise.race([server.exited, stops.first]);
  if (ended !== undefined) return ended;
  try {
    return await Promise.race([server.stop().then(() => ExitCode.Ok), stops.second]);
  } catch (error) {
    return refused(error, io);
  }
}

function refused(error: unknown, io: Io): number {
  io.stderr.write(`muster: ${printable(error instanceof Error ? error.message : String(error))}\n`);
  return error instanceof ConfigError ? ExitCode.Usage : ExitCode.Refused;
}

function startMember(config: ServerConfig): Promise<RunningServer> {
  return startServer(config);
}

/** The requests to stop, in order, as promises. */
class StopRequests {
  readonly first: Promise<undefined>;
  readonly second: Promise<number>;
  readonly close: () => void;

  constructor(io: Io) {
    let resolveFirst: (value: undefined) => void = () => undefined;
    let resolveSecond: (code: number) => void = () => undefined;
    this.first = new Promise((resolve) => (resolveFirst = resolve));
    this.second = new Promise((resolve) => (resolveSecond = resolve));
    let asked = false;
    this.close = io.onStop(["SIGINT", "SIGTERM", "disconnect"], (cause: StopCause) => {
      // The parent's end is no impatience: it never cuts a stop short.
      if (asked && cause !== "disconnect") resolveSecond(ExitCode.Interrupted);
      asked = true;
      resolveFirst(undefined);
    });
  }
}
