/**
 * The options that every client command takes, and the client that is made from them.
 *
 * Endpoints come from --endpoints, else from MUSTER_ENDPOINTS, else from the default. All values are checked before a
 * connection is made.
 */
import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import {
  ClientConfigError,
  Consistency,
  DEFAULT_TIMEOUT_MS,
  MusterClient,
  MusterError,
  parseEndpoints,
  systemClock,
  TIMEOUT_MAX_MS,
} from "../client";
import type { CallOptions, Clock } from "../client";
import { isUnavailable } from "./failure";
import { UsageError } from "./io";
import type { Io } from "./io";
import type { OutputFormat } from "./output";
import { printable } from "./output";

/**
 * The endpoint that client commands use by default: the admin listener of a member with default ports, and of the
 * member n1 of `muster dev`.
 */
const DEFAULT_ENDPOINT = "127.0.0.1:7460";

/** The parsed options of the program, as commander names them. */
interface ClientOptions {
  /** The members to ask, comma-separated. @default MUSTER_ENDPOINTS, else DEFAULT_ENDPOINT */
  readonly endpoints?: string;
  /** How results are printed; "json" for programs. @default "table", for people */
  readonly output?: OutputFormat;
  /**
   * Milliseconds for the whole command. Raise it on a slow network, lower it in a script that must not wait.
   * @default that of the command, else the client's DEFAULT_TIMEOUT_MS
   */
  readonly timeout?: number;
}

/** When a read is also made at a further member. Short: a person waits, and one command is no load. */
const HEDGE_READS_MS = 250;
/** The part of a command's time that a linearizable read may use when a serializable one is to follow it. */
const LINEARIZABLE_SHARE = 0.75;

const NAMES = ["endpoints", "output", "timeout"] as const;

/** Declares the options on the program, so that they are accepted both before and after the name of a command. */
export function addClientOptions(program: Command): Command {
  return program
    .option(
      "--endpoints <list>",
      `members to ask, comma-separated host:port or URLs (env MUSTER_ENDPOINTS, default ${DEFAULT_ENDPOINT})`,
    )
    .addOption(new Option("--output <format>", "output format").choices(["table", "json"]).default("table"))
    .option(
      "--timeout <time>",
      'time for the whole command: seconds, or "5s", "500ms" (default: 7s)',
      parseTimeout,
    );
}

/**
 * Refuses client options on a command that makes no calls: ignoring them would hide a mistake.
 * @param names the options to refuse
 */
export function refuseClientOptions(
  command: Command,
  program: Command,
  names: readonly (typeof NAMES)[number][] = NAMES,
): void {
  for (const name of names) {
    if (program.getOptionValueSource(name) === "cli") {
      throw new UsageError(`--${name} has no meaning for \`muster ${wordsOf(command, program)}\``);
    }
  }
}

/** The full name of a command, such as `wal inspect`: its own name after those of its parents. */
function wordsOf(command: Command, program: Command): string {
  const { parent } = command;
  const before = parent === null || parent === program ? "" : `${wordsOf(parent, program)} `;
  return before + command.name();
}

/** The parts that a client command uses. */
export interface CommandContext {
  readonly client: MusterClient;
  readonly io: Io;
  readonly output: OutputFormat;
  /** The addresses that the user gave, or the default. */
  readonly endpoints: readonly string[];
  /** Milliseconds left of the time for the whole command. */
  readonly remainingMs: () => number;
  /** Runs a wait for a person, whose time is not the command's. */
  readonly untimed: <T>(wait: () => Promise<T>) => Promise<T>;
  /** Undefined: the machine's. */
  readonly clock: Clock | undefined;
}

/** What a command needs that asks each member by itself. The time begins now. */
export function surveyContext(
  command: Command,
  io: Io,
  defaultTimeoutMs = DEFAULT_TIMEOUT_MS,
): Omit<CommandContext, "client"> {
  const options = command.optsWithGlobals<ClientOptions>();
  const clock = io.clock ?? systemClock;
  let end = clock.now() + (options.timeout ?? defaultTimeoutMs);
  return {
    io,
    output: options.output ?? "table",
    endpoints: endpointList(options.endpoints, io.env["MUSTER_ENDPOINTS"]),
    remainingMs: () => Math.max(1, end - clock.now()),
    untimed: async (wait) => {
      const begin = clock.now();
      try {
        return await wait();
      } finally {
        end += clock.now() - begin;
      }
    },
    clock: io.clock,
  };
}

/**
 * Runs one command with a client made from its options, and closes the client.
 * @param defaultTimeoutMs milliseconds for the whole command when --timeout is missing. @default the client's own
 */
export async function withClient(
  command: Command,
  io: Io,
  run: (context: CommandContext) => Promise<void>,
  defaultTimeoutMs?: number,
): Promise<void> {
  const context = surveyContext(command, io, defaultTimeoutMs);
  const client = new MusterClient({
    // The caller said which members to ask.
    followRoster: false,
    endpoints: context.endpoints,
    timeoutMs: context.remainingMs(),
    waitForConnection: false,
    hedgeReadsMs: HEDGE_READS_MS,
    clock: io.clock,
  });
  try {
    await run({ ...context, client });
  } finally {
    client.close();
  }
}

/**
 * A linearizable read if possible. When no member can confirm the answer, falls back to a serializable read, the
 * knowledge of one member alone, and says so in a note on stderr: during an outage an operator needs that answer.
 */
export async function readWithFallback<T>(
  { io, remainingMs }: Pick<CommandContext, "io" | "remainingMs">,
  serializable: boolean,
  read: (consistency: Consistency, options: CallOptions) => Promise<T>,
): Promise<{ readonly answer: T; readonly confirmed: boolean }> {
  const local = async (): Promise<{ answer: T; confirmed: boolean }> => ({
    answer: await read(Consistency.SERIALIZABLE, { timeoutMs: remainingMs() }),
    confirmed: false,
  });
  if (serializable) return local();
  try {
    const timeoutMs = remainingMs() * LINEARIZABLE_SHARE;
    return { answer: await read(Consistency.LINEARIZABLE, { timeoutMs }), confirmed: true };
  } catch (error) {
    if (!(error instanceof MusterError) || !error.sent || !isUnavailable(error)) throw error;
    let found: { answer: T; confirmed: boolean };
    try {
      found = await local();
    } catch {
      throw error; // more informative than the failure of the fallback
    }
    const why = `${printable(error.label)}: ${printable(error.message)}`;
    io.stderr.write(
      `muster: note: no quorum confirmed this answer (${why}); it is what one member knows and may be old\n`,
    );
    return found;
  }
}

/** A time in milliseconds: a number of seconds, or a number with "s" or "ms". */
export function parseTimeout(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(s|ms)?$/.exec(text);
  const ms = match === null ? Number.NaN : Number(match[1]) * (match[2] === "ms" ? 1 : 1000);
  if (ms > 0 && ms <= TIMEOUT_MAX_MS) return ms;
  throw new InvalidArgumentError('Want more than 0 and at most a day: seconds, or "5s", "500ms".');
}

/** A revision: an unsigned 64-bit number, in decimal. */
export function parseRevision(text: string): bigint {
  if (/^[0-9]{1,20}$/.test(text)) {
    const revision = BigInt(text);
    if (revision > 0n && revision < 2n ** 64n) return revision;
  }
  throw new InvalidArgumentError("Want a revision as `muster member list` shows it: a whole number above 0.");
}

function endpointList(flag: string | undefined, variable: string | undefined): string[] {
  // An empty variable counts as unset: shells can only empty a variable for a single command, not unset it.
  const fromVariable = flag === undefined && variable !== undefined && variable !== "";
  const text = flag ?? (fromVariable ? variable : DEFAULT_ENDPOINT);
  const endpoints = text.split(",").filter((part) => part.trim() !== "");
  try {
    parseEndpoints(endpoints);
  } catch (error) {
    if (!(error instanceof ClientConfigError)) throw error;
    throw new UsageError(`${fromVariable ? "MUSTER_ENDPOINTS" : "--endpoints"}: ${error.message}`);
  }
  return endpoints;
}
