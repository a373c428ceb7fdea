/**
 * `muster server`: runs one member until a request to stop, or until the member ends by itself.
 *
 * Exit codes: 0 after SIGINT or SIGTERM, which stop the member gracefully; 130 after a second signal, which ends it at
 * once; 2 for a wrong configuration and 1 for any other failure to start, each with one line on stderr. A member that
 * ends by itself, because it was removed or its log can't be written, has logged the cause and sets the exit code. 8
 * (removed) and 9 (its data directory must not be used again) are final, at a start too: starting again does not help.
 */
import { ConfigError, loadConfig } from "../server/config";
import type { ConfigSources, ServerConfig } from "../server/config";
import { FinalExit, StartRefusedError } from "../server/errors";
import { startServer } from "../server/index";
import { DataDirError } from "../storage/errors";
import { ExitCode } from "./io";
import type { Io, StopCause } from "./io";
import { printable } from "./output";

/** The sources of the configuration. A flag wins over a variable, and a variable over the file. */
export interface ServerSource {
  readonly file: string | undefined;
  readonly flags: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The parts of a running member that this command uses. */
export interface RunningServer {
  stop(): Promise<void>;
  /** Resolves with an exit code when the member ends by itself. */
  readonly exited: Promise<number>;
}

/** Starts a member. Rejects with ConfigError, or with an error whose message is one line for people. */
export type StartServer = (config: ServerConfig) => Promise<RunningServer>;

/** Runs a member until it ends. @returns the exit code */
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
    // Stopping during the start is as safe as a crash at that point: nothing was acknowledged yet.
    server = await Promise.race([starting, stops.first]);
  } catch (error) {
    return refused(error, io);
  }
  if (server === undefined) {
    starting.catch(() => undefined); // a failure no longer matters, but must not be an unhandled rejection
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
  if (error instanceof ConfigError) return ExitCode.Usage;
  if (error instanceof DataDirError && error.reason === "removed") return FinalExit.Removed;
  return error instanceof StartRefusedError && error.wiped ? FinalExit.Unusable : ExitCode.Refused;
}

function startMember(config: ServerConfig): Promise<RunningServer> {
  return startServer(config);
}

/** The first and the second request to stop, as promises. */
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
      // Only a second signal ends a graceful stop early; the end of the parent process does not.
      if (asked && cause !== "disconnect") resolveSecond(ExitCode.Interrupted);
      asked = true;
      resolveFirst(undefined);
    });
  }
}
