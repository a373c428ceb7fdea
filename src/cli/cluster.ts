/**
 * `muster cluster`: shows the members with their state, the quorum, and how many failures the cluster tolerates.
 */
import type { Command } from "commander";
import type { Io } from "./io";
import { readWithFallback, withClient } from "./options";
import { clusterJson, clusterText, jsonLine } from "./output";

/** Adds the `cluster` command to the program. */
export function addClusterCommand(program: Command, io: Io): void {
  program
    .command("cluster")
    .description("show the cluster: leader, quorum, and the state of each member")
    .option("--serializable", "ask one member alone: needs no quorum, may be old")
    .action((options: { serializable?: boolean }, command: Command) =>
      withClient(command, io, async ({ client, output }) => {
        const response = await readWithFallback(io, options.serializable === true, (consistency) =>
          client.getCluster({ consistency }),
        );
        io.stdout.write(output === "json" ? jsonLine(clusterJson, response) : clusterText(response));
      }),
    );
}
