/**
 * `muster leader transfer`: hands leadership to another voter.
 */
import type { Command } from "commander";
import { TransferLeadershipResponse } from "../generated/muster/v1/membership_service";
import type { Io } from "./io";
import { withClient } from "./options";
import { jsonLine, printable } from "./output";

/** Adds the `leader` command and its subcommand to the program. */
export function addLeaderCommands(program: Command, io: Io): void {
  program
    .command("leader")
    .description("hand leadership to another member")
    .command("transfer [name]")
    .description("hand leadership to the named voter, or to the most advanced one; ends when it leads")
    .option("--id <id>", "the member's id, instead of its name or beside it")
    .action((name: string | undefined, options: { id?: string }, command: Command) =>
      withClient(command, io, async ({ client, output }) => {
        const response = await client.transferLeadership({ name, id: options.id });
        io.stdout.write(
          output === "json" ? jsonLine(TransferLeadershipResponse, response) : transferred(response),
        );
      }),
    );
}

function transferred({ header, leader }: TransferLeadershipResponse): string {
  const who = printable(`${leader?.name ?? ""} (${leader?.id ?? ""})`);
  return `${who} leads, in term ${String(header?.raftTerm ?? 0n)}\n`;
}
