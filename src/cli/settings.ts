/**
 * `muster settings` and `muster settings set KEY VALUE`: what the leader does by itself.
 */
import { Argument } from "commander";
import type { Command } from "commander";
import { UpdateClusterSettingsResponse } from "../generated/muster/v1/membership_service";
import type { ClusterSettings } from "../client";
import { makeChange } from "./change";
import type { Io } from "./io";
import { readWithFallback, withClient } from "./options";
import type { CommandContext } from "./options";
import { jsonLine, printable, renderTable } from "./output";
import { SETTINGS } from "./setting_list";
import { withWriteOptions } from "./write_options";
import type { WriteOptions } from "./write_options";

/** Adds the `settings` command and its subcommand to the program. */
export function addSettingsCommands(program: Command, io: Io): void {
  const settings = program
    .command("settings")
    .description("show what the leader does by itself, or change it")
    .option("--serializable", "ask one member alone: needs no quorum, may be old")
    .action((options: { serializable?: boolean }, command: Command) =>
      withClient(command, io, (context) => show(context, options.serializable === true)),
    );
  withWriteOptions(
    settings
      .command("set")
      .description("change one setting of the cluster")
      .addArgument(new Argument("<key>", "which one").choices(SETTINGS.map(({ key }) => key)))
      .argument("<value>", "true or false; a time such as 30s, 10m, 1h30m, or 0: never"),
  ).action((key: string, value: string, options: WriteOptions, command: Command) => {
    const change = SETTINGS.find((setting) => setting.key === key)?.write(value);
    return withClient(command, io, (context) => set(context, `${key} ${value}`, { ...change }, options));
  });
}

async function show(context: CommandContext, serializable: boolean): Promise<void> {
  const { client, io, output } = context;
  const { answer } = await readWithFallback(context, serializable, (consistency, options) =>
    client.getCluster({ consistency }, options),
  );
  const { header, settings } = answer;
  if (settings === undefined) throw new Error("the member that answered runs a version without settings");
  // The same message as after a change: a program reads one form.
  const response = UpdateClusterSettingsResponse.create({ header, settings });
  io.stdout.write(
    output === "json" ? jsonLine(UpdateClusterSettingsResponse, response) : settingsTable(settings),
  );
}

async function set(
  context: CommandContext,
  change: string,
  request: ReturnType<(typeof SETTINGS)[number]["write"]>,
  options: WriteOptions,
): Promise<void> {
  await makeChange(context, options, {
    call: (fields, callOptions) =>
      context.client.updateClusterSettings({ ...request, ...fields }, callOptions),
    type: UpdateClusterSettingsResponse,
    asks: false,
    possible: () => `${printable(change)} can be set`,
    done: ({ header, settings }) => {
      const first = `set ${printable(change)} at revision ${String(header?.revision ?? 0n)}\n`;
      return settings === undefined ? first : `${first}\n${settingsTable(settings)}`;
    },
  });
}

function settingsTable(settings: ClusterSettings): string {
  const rows = SETTINGS.map(({ key, initial, meaning, read }) => [key, read(settings), initial, meaning]);
  return renderTable(["SETTING", "VALUE", "DEFAULT", "MEANING"], rows);
}
