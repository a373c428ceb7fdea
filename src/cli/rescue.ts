/**
 * `muster rescue DIR... --out FILE`: saves the state of a cluster whose quorum is lost for good, from the data directories of
 * stopped members, to a file for `muster snapshot restore`.
 */
import { createHash } from "node:crypto";
import type { Command } from "commander";
import { UsageError } from "./io";
import type { Io } from "./io";
import type { LoadOffline, RescueReport } from "./offline_commands";
import { refuseClientOptions } from "./options";
import type { OutputFormat } from "./output";
import { printable, renderTable } from "./output";
import { STDOUT, snapshotTarget } from "./snapshot_file";
import type { SnapshotTarget } from "./snapshot_file";

interface RescueOptions {
  readonly out: string;
  readonly overwrite?: boolean;
}

/** Adds the `rescue` command to the program. */
export function addRescueCommand(program: Command, io: Io, offline: LoadOffline): void {
  program
    .command("rescue <dirs...>")
    .description(
      "save the state of a cluster that has lost its quorum for good, from the data directories of its stopped members",
    )
    .requiredOption("--out <file>", "the snapshot file to write, for `muster snapshot restore`")
    .option("--overwrite", "replace a file of that name")
    .action(async (dirs: string[], options: RescueOptions, command: Command) => {
      refuseClientOptions(command, program, ["endpoints", "timeout"]);
      const output = command.optsWithGlobals<{ output?: OutputFormat }>().output ?? "table";
      const { out } = options;
      if (out === STDOUT)
        throw new UsageError("--out must be a file: standard output has the report of what was found");
      const target = await snapshotTarget(out, options.overwrite ?? false, io);
      const { report, bytes } = await offline().rescue(dirs);
      await write(target, bytes);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      io.stdout.write(output === "json" ? json({ file: out, ...report, sha256 }) : text(out, report, sha256));
    });
}

async function write(target: SnapshotTarget, bytes: Uint8Array): Promise<void> {
  try {
    await target.begin();
    await target.write(bytes);
    await target.finish(createHash("sha256").update(bytes).digest());
  } finally {
    await target.abandon();
  }
}

function text(file: string, report: RescueReport, sha256: string): string {
  const { survivors, leftOut, clusterId, index, term, revision, members, beyondCommit } = report;
  const rows = survivors.map((survivor) => {
    const { dir, memberId, name, role, lastIndex, lastTerm, commit } = survivor;
    return [
      dir,
      name,
      memberId,
      role,
      String(lastIndex),
      String(lastTerm),
      String(survivor.term),
      String(commit),
    ];
  });
  const table = renderTable(
    ["DIRECTORY", "MEMBER", "ID", "ROLE", "LAST INDEX", "LAST TERM", "TERM", "COMMIT"],
    rows,
  );
  const voters = members.filter(({ role }) => role === "voter");
  const list = voters.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  const token = `rescued-${String(index)}`;
  const lines = [
    ...leftOut.map(({ dir, problem }) => `left out: ${dir}: ${problem}`),
    `the longest log is that of ${survivors[0]?.dir ?? ""}`,
    `saved cluster ${clusterId} to ${file}: index ${String(index)}, term ${String(term)}, revision ` +
      `${String(revision)}, members ${String(members.length)}`,
    `entries beyond the known commit index, which are in it too: ${String(beyondCommit)}`,
    `sha256 ${sha256}`,
    "",
    "next: make a new cluster of it, with one command for each member that it shall have, and the same file, list and",
    "token in each; name only machines that you have. The old members must stay stopped for ever.",
    ...voters.map(
      ({ name, peerUrl }) =>
        `  muster snapshot restore ${file} --name ${name} --peer-url ${peerUrl} --data-dir ${name}.rescued ` +
        `--initial-cluster ${list} --initial-cluster-token ${token}`,
    ),
    "then start each with `muster server` and its new data directory; `muster member list` shows the new cluster",
  ];
  return `${table}${lines.map(printable).join("\n")}\n`;
}

/** One line of JSON. All numbers are text, as 64-bit numbers are in proto3 JSON. */
function json(value: object): string {
  const asText = (_key: string, part: unknown): unknown => (typeof part === "number" ? String(part) : part);
  return `${JSON.stringify(value, asText)}\n`;
}
