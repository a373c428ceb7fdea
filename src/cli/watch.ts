/**
 * `muster watch`: prints every change of the roster as it happens, until Ctrl-C. When the member or the connection is lost
 * it goes on at another endpoint where it was, and says so.
 */
import type { Command } from "commander";
import { systemClock } from "../client";
import { watchCall } from "../client/watch_call";
import { WatchMembersResponse } from "../generated/muster/v1/membership_service";
import { EventLines } from "./event_lines";
import type { Io } from "./io";
import { parseRevision, refuseClientOptions, surveyContext } from "./options";
import { jsonLine, printable } from "./output";

interface WatchOptions {
  readonly from?: bigint;
  readonly withLeader?: boolean;
  readonly withProgress?: boolean;
}

/** Adds the `watch` command to the program. */
export function addWatchCommand(program: Command, io: Io): void {
  program
    .command("watch")
    .description("print every change of the members as it happens, until Ctrl-C")
    .option(
      "--from <revision>",
      "what changed after this revision, instead of the members first",
      parseRevision,
    )
    .option("--with-leader", "also print who leads, and when that changes")
    .option(
      "--with-progress",
      "also print every few seconds that nothing changed, and whether there is a leader",
    )
    .action(async (options: WatchOptions, command: Command) => {
      refuseClientOptions(command, program, ["timeout"]);
      const { endpoints, output } = surveyContext(command, io);
      const lines = new EventLines();
      await untilStopped(io, async (signal) => {
        const messages = followed(io, endpoints, options, signal);
        for await (const message of messages)
          io.stdout.write(output === "json" ? jsonLine(WatchMembersResponse, message) : lines.of(message));
      });
    });
}

/** Runs until the user asks to stop, which is a success. */
export async function untilStopped(io: Io, run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const release = io.onStop(["SIGINT", "SIGTERM", "SIGHUP"], () => {
    stop.abort();
  });
  try {
    await run(stop.signal);
  } finally {
    release();
  }
}

/** The messages of a watch that says on stderr when it is lost and goes on. */
export function followed(
  io: Io,
  endpoints: readonly string[],
  { from = 0n, withLeader = false, withProgress = false }: WatchOptions,
  signal: AbortSignal,
): AsyncGenerator<WatchMembersResponse> {
  return watchCall({
    endpoints,
    request: { startRevision: from, withLeader, withProgress },
    signal,
    clock: io.clock ?? systemClock,
    onLost: (error) => {
      io.stderr.write(
        `muster: the watch was lost (${printable(error.label)}: ${printable(error.message)}); trying again\n`,
      );
    },
    onResumed: (endpoint) => {
      io.stderr.write(`muster: the watch goes on at ${printable(endpoint)}; nothing was left out\n`);
    },
  });
}
