/**
 * `muster members change`: promotes, demotes and removes several members in one change.
 */
import type { Command } from "commander";
import { ChangeMembersResponse } from "../generated/muster/v1/membership_service";
import { makeChange, withChangeOptions } from "./change";
import type { ChangeOptions } from "./change";
import { UsageError } from "./io";
import type { Io } from "./io";
import { withClient } from "./options";
import type { CommandContext } from "./options";
import { memberTable } from "./output";
import { selector } from "./write_options";

interface Options extends ChangeOptions {
  readonly promote?: string;
  readonly demote?: string;
  readonly remove?: string;
}

/** Adds the `members` command: one change of several members. */
export function addMembersCommands(program: Command, io: Io): void {
  withChangeOptions(
    program
      .command("members")
      .description("change several members at once")
      .command("change")
      .description("promote, demote and remove members in one change, all of them or none")
      .option("--promote <list>", "learners that become voters: names, or id:HEX, comma-separated")
      .option("--demote <list>", "voters that become learners")
      .option("--remove <list>", "members that are removed for good"),
  ).action((options: Options, command: Command) => {
    if (options.promote === undefined && options.demote === undefined && options.remove === undefined)
      throw new UsageError("give --promote, --demote or --remove");
    return withClient(command, io, (context) => change(context, options));
  });
}

async function change(context: CommandContext, options: Options): Promise<void> {
  const [promote, demote, remove] = [options.promote, options.demote, options.remove].map(selectors);
  await makeChange(context, options, {
    call: (fields, callOptions) =>
      context.client.changeMembers({ promote, demote, remove, ...fields }, callOptions),
    type: ChangeMembersResponse,
    possible: () => "the members can be changed",
    done: ({ header, members }) =>
      `changed the members at revision ${String(header?.revision ?? 0n)}\n\n${memberTable(members, header?.leaderId ?? "")}`,
  });
}

function selectors(list: string | undefined): { name?: string; id?: string }[] {
  return list === undefined ? [] : list.split(",").map((word) => selector(word.trim()));
}
