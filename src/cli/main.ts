#!/usr/bin/env node
/**
 * The `muster` command: parses the command line, runs one command, and turns its outcome into an exit code.
 *
 * main() uses the process only through `io`; the lines at the end of the file connect the two. Modules that load the
 * server are loaded when their command runs, so that client commands start fast. They are loaded by require(), because
 * import() in a CommonJS module needs file extensions.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { addClusterCommand } from "./cluster";
import { addCompletionCommand } from "./completion";
import { addDoctorCommand } from "./doctor";
import { reportFailure } from "./failure";
import { ExitCode } from "./io";
import type { Io, StopCause } from "./io";
import { addLeaderCommands } from "./leader";
import { addMemberCommands } from "./member";
import { addMembersCommands } from "./members_change";
import type * as Offline from "./offline";
import { addClientOptions, refuseClientOptions } from "./options";
import { addDevOptions } from "./dev_options";
import type { DevFlags } from "./dev_options";
import type * as RunDev from "./run_dev";
import type * as RunServer from "./run_server";
import { addRescueCommand } from "./rescue";
import { addServerOptions, serverFlags } from "./server_options";
import { addSettingsCommands } from "./settings";
import { addSnapshotCommands } from "./snapshot";
import { askOnTerminal } from "./terminal";
import { addWalCommands } from "./wal";
import { addWatchCommand } from "./watch";

/** Runs one command. @param argv the command line without the program @returns the exit code; never rejects */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  let exitCode: number = ExitCode.Ok;
  try {
    const program = buildProgram(io, (code) => {
      exitCode = code;
    });
    await program.parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportFailure(error, io);
    // commander has printed its text. --help is a success; help that is shown because the command is missing is not.
    return error.exitCode === 0 ? ExitCode.Ok : ExitCode.Usage;
  }
}

function buildProgram(io: Io, exitWith: (code: number) => void): Command {
  const program = new Command("muster")
    .description("Membership of a cluster: one agreed roster over a Raft log.")
    .version(packageVersion())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => {
        write(text.replace(/^error: /, "muster: "));
      },
    })
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("(--help says more)")
    .addHelpText(
      "after",
      "\nExit codes: 0 ok, 1 refused, 2 usage, 3 no answer (no member, no leader, no quorum).",
    );
  addClientOptions(program);
  addMemberCommands(program, io, exitWith);
  addMembersCommands(program, io);
  addLeaderCommands(program, io);
  addSettingsCommands(program, io);
  addClusterCommand(program, io, exitWith);
  addWatchCommand(program, io);
  addDoctorCommand(program, io, exitWith);
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- see the header: loaded when it runs
  const offline = () => (require("./offline") as typeof Offline).offlineCommands;
  addSnapshotCommands(program, io, offline);
  addWalCommands(program, io, offline, exitWith);
  addRescueCommand(program, io, offline);
  addServerOptions(program.command("server")).action(
    async (options: Record<string, string>, command: Command) => {
      refuseClientOptions(command, program);
      const { file, flags } = serverFlags(options, command);
      // eslint-disable-next-line @typescript-eslint/no-require-imports -- see the header: loaded when it runs
      const { runServer } = require("./run_server") as typeof RunServer;
      exitWith(await runServer({ file, flags, env: io.env }, io));
    },
  );
  addDevOptions(program.command("dev")).action(async (options: DevFlags, command: Command) => {
    refuseClientOptions(command, program);
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- see the header: loaded when it runs
    const { runDev } = require("./run_dev") as typeof RunDev;
    exitWith(await runDev(options, io));
  });
  addCompletionCommand(program, io);
  return program;
}

/** The version in package.json, which is two folders above both src/cli and dist/cli. */
function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(__dirname, "../../package.json"), "utf8")) as {
    version: string;
  };
  return version;
}

function processIo(): Io {
  return {
    stdout: {
      write: (text) => process.stdout.write(text),
      isTerminal: process.stdout.isTTY,
      writeBytes: (bytes) =>
        new Promise((resolve, reject) => {
          process.stdout.write(bytes, (error) => {
            if (error == null) resolve();
            else reject(error);
          });
        }),
    },
    stderr: process.stderr,
    ask:
      process.stdin.isTTY && process.stderr.isTTY
        ? (question) => askOnTerminal(process.stdin, process.stderr, question)
        : undefined,
    env: process.env,
    onStop: (causes, listener) => {
      const removals = causes.map((cause: StopCause) => {
        const handler = (): void => {
          listener(cause);
        };
        process.on(cause, handler);
        return () => process.off(cause, handler);
      });
      return () => {
        for (const remove of removals) remove();
      };
    },
  };
}

if (require.main === module) {
  // A reader that closes its pipe early (`muster member list | head -1`) is not a failure of this command.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
  void main(process.argv.slice(2), processIo()).then((code) => {
    // exit() ends the process even if a handle is still open. The empty writes wait until all output is flushed.
    process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
  });
}
