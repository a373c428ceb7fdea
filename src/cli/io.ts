/**
 * What the command needs of its process, so that a test runs a whole command in its own process.
 */
import type { Clock } from "../client";

/** Takes text; what becomes of it is not the command's business. */
export interface TextSink {
  write(text: string): unknown;
}

/**
 * Why the process should stop: the signal's name, or "disconnect" when the `muster dev` that started it is
 * gone.
 */
export type StopCause = "SIGINT" | "SIGTERM" | "SIGHUP" | "disconnect";

/** The process as commands see it. */
export interface Io {
  /** Results only. */
  readonly stdout: TextSink;
  /** Refusals, notes and progress. */
  readonly stderr: TextSink;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Time for retries of the client; the machine's when not given. */
  readonly clock?: Clock;
  /**
   * Calls back for every request to stop, until the returned function is called. Without a listener a signal
   * ends the process at once.
   */
  onStop(causes: readonly StopCause[], listener: (cause: StopCause) => void): () => void;
}

/** Exit codes of every command. */
export const ExitCode = {
  Ok: 0,
  /** The cluster refused, or the command failed. */
  Refused: 1,
  /** The command line, a configuration file or an environment variable is wrong. */
  Usage: 2,
  /** No member answered, or the cluster has no leader or no quorum. */
  Unavailable: 3,
  /** A second signal ended the process without a graceful stop: 128 + SIGINT, as shells report it. */
  Interrupted: 130,
} as const;

/** What was asked for makes no sense. The message is one line. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}
