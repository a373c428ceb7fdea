/**
 * The parts of the process that commands use, so that a test can run a whole command in its own process.
 */
import type { Clock } from "../client";

/** Accepts text: a stream of the process, or a string in a test. */
interface TextSink {
  write(text: string): unknown;
}

/** Accepts bytes too, at the pace of its reader. */
interface OutputSink extends TextSink {
  writeBytes(bytes: Uint8Array): Promise<void>;
  /** Whether a person sees the output as it is written. @default false: it goes to a file or a program */
  readonly isTerminal?: boolean;
}

/**
 * Why the process should stop: the name of a signal, or "disconnect" when the `muster dev` that started the process has
 * ended.
 */
export type StopCause = "SIGINT" | "SIGTERM" | "SIGHUP" | "disconnect";

/** The process as commands see it. */
export interface Io {
  /** For results only. */
  readonly stdout: OutputSink;
  /** For refusals, notes and progress. */
  readonly stderr: TextSink;
  /** The environment variables. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * Asks the person at the terminal, and resolves with the line that was typed, an empty one at the end of the input.
   * @default undefined: nobody is there to answer, since stdin or stderr is no terminal
   */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  /** The clock of the client's retries; replaced in tests. @default the machine's monotonic clock */
  readonly clock?: Clock;
  /**
   * Calls the listener for every request to stop, until the returned function is called. Without a listener a signal
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

/** The command line asks for something impossible. The message is one line. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}
