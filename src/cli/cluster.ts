/**
 * `muster cluster`: shows the members with their state, the quorum, and how many failures the cluster tolerates now.
 * Without a leader: what each member says of itself and of the others.
 */
import type { Command } from "commander";
import { GetClusterResponse } from "../generated/muster/v1/membership_service";
import { watchCluster } from "./cluster_watch";
import { diagnose } from "./doctor_findings";
import { hearing } from "./doctor";
import { ExitCode } from "./io";
import type { Io } from "./io";
import { readWithFallback, refuseClientOptions, withClient } from "./options";
import type { CommandContext } from "./options";
import { clusterText, jsonLine, printable, renderTable } from "./output";
import { survey } from "./survey";

/** Adds the `cluster` command to the program. */
export function addClusterCommand(program: Command, io: Io, exitWith: (code: number) => void): void {
  program
    .command("cluster")
    .description("show the cluster: leader, quorum, and the state of each member")
    .option("--serializable", "ask one member alone: needs no quorum, may be old")
    .option(
      "--watch",
      "go on until Ctrl-C: a table that is kept current, or lines where there is no terminal",
    )
    .action((options: { serializable?: boolean; watch?: boolean }, command: Command) => {
      const serializable = options.serializable === true;
      if (options.watch === true) {
        refuseClientOptions(command, program, ["timeout"]);
        return withClient(command, io, (context) => watchCluster(context, serializable));
      }
      return withClient(command, io, (context) => show(context, serializable, exitWith));
    });
}

async function show(
  context: CommandContext,
  serializable: boolean,
  exitWith: (code: number) => void,
): Promise<void> {
  const { client, io, output } = context;
  const { answer, confirmed } = await readWithFallback(context, serializable, (consistency, options) =>
    client.getCluster({ consistency }, options),
  );
  const isLed = confirmed || (serializable && hasLeader(answer));
  io.stdout.write(output === "json" ? jsonLine(GetClusterResponse, answer) : clusterText(answer));
  if (isLed) return;
  if (output === "table") io.stdout.write(`\n${await views(context)}`);
  exitWith(ExitCode.Unavailable);
}

function hasLeader({ header }: GetClusterResponse): boolean {
  return (header?.leaderId ?? "") !== "";
}

/** What each member says that answers: who leads, and whom it hears. */
async function views(context: CommandContext): Promise<string> {
  const answers = await survey({ ...context, confirm: false });
  const { members } = diagnose(answers);
  const rows = members.map(({ name, answersAt, leader, term, revision }) => [
    name,
    answersAt.length === 0 ? "no answer" : answersAt.join(","),
    leader === "" ? "none" : (leader ?? ""),
    term === null ? "" : String(term),
    revision === null ? "" : String(revision),
  ]);
  const silent = answers
    .filter(({ own }) => own === null)
    .map(({ address, problem }) => `${address}: ${problem}`);
  return [
    "what each member says:",
    renderTable(["NAME", "ANSWERS AT", "LEADER", "TERM", "REVISION"], rows),
    "time since each member (row) last heard from each other one (column):",
    hearing(members),
    ...silent.map((line) => printable(`no answer from ${line}`)),
    "`muster doctor` says what to do next",
    "",
  ].join("\n");
}
