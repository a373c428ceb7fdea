/**
 * `muster snapshot save|inspect|restore`: saves the state of a cluster to a file, and makes a new cluster from it.
 */
import type { Command } from "commander";
import type { ReceivedSnapshot } from "../client";
import type { Io } from "./io";
import type { LoadOffline, RestoreReport, SnapshotReport } from "./offline_commands";
import { refuseClientOptions, withClient } from "./options";
import type { CommandContext } from "./options";
import type { OutputFormat } from "./output";
import { printable, renderTable } from "./output";
import { STDOUT, snapshotTarget } from "./snapshot_file";

/** Default timeout of `save`: longer than that of other commands, because a snapshot is larger than other answers. */
const SAVE_TIMEOUT_MS = 60_000;

/** The flags of `save`. */
interface SaveOptions {
  readonly overwrite?: boolean;
  readonly serializable?: boolean;
}

/** The flags of `restore`. */
interface RestoreOptions {
  readonly name: string;
  readonly peerUrl: string;
  readonly initialCluster?: string;
  readonly initialClusterToken?: string;
  readonly dataDir: string;
}

/** Adds the `snapshot` command and its subcommands to the program. */
export function addSnapshotCommands(program: Command, io: Io, offline: LoadOffline): void {
  const snapshot = program
    .command("snapshot")
    .description("save the cluster's state, and make a new cluster from it");
  const offlineFormat = (command: Command): OutputFormat => {
    refuseClientOptions(command, program, ["endpoints", "timeout"]);
    return command.optsWithGlobals<{ output?: OutputFormat }>().output ?? "table";
  };
  snapshot
    .command("save <file>")
    .description(
      `save every change acknowledged so far to a file, from a member that runs; ${STDOUT} is standard output`,
    )
    .option("--overwrite", "replace a regular file of that name")
    .option("--serializable", "ask one member alone: needs no quorum, may miss acknowledged changes")
    .action((file: string, options: SaveOptions, command: Command) =>
      withClient(command, io, (context) => save(context, file, options), SAVE_TIMEOUT_MS),
    );
  snapshot
    .command("inspect <file>")
    .description("check a saved snapshot, and show what is in it")
    .action(async (file: string, _options: object, command: Command) => {
      const output = offlineFormat(command);
      const report = await offline().readSnapshot(file);
      io.stdout.write(output === "json" ? json(report) : snapshotText(report));
    });
  snapshot
    .command("restore <file>")
    .description(
      "make the data directory of one member of a new cluster from a saved snapshot; run it for each member",
    )
    .requiredOption("--name <name>", "this member's name")
    .requiredOption("--peer-url <url>", "where the other members will reach it")
    .requiredOption("--data-dir <dir>", "where to make its data directory")
    .option(
      "--initial-cluster <list>",
      "all members: name=peer-url, comma-separated (default: this one alone)",
    )
    .option("--initial-cluster-token <text>", "tells clusters restored from one file apart")
    .action(async (file: string, options: RestoreOptions, command: Command) => {
      const output = offlineFormat(command);
      const { name, peerUrl, dataDir, initialCluster = "", initialClusterToken = "" } = options;
      const request = { file, name, peerUrl, dataDir, initialCluster, initialClusterToken };
      const report = await offline().restore(request);
      io.stdout.write(output === "json" ? json(report) : restoreText(report));
    });
}

async function save(
  { client, io, output }: CommandContext,
  file: string,
  { overwrite = false, serializable = false }: SaveOptions,
): Promise<void> {
  const target = await snapshotTarget(file, overwrite, io);
  try {
    const received = await client.saveSnapshot(target, { serializable });
    const sha256 = await target.finish(received.sha256);
    if (serializable) {
      io.stderr.write(
        "muster: note: no quorum confirmed this snapshot; it is what one member has, and changes that were acknowledged " +
          "may be missing from it\n",
      );
    }
    // On standard output the file itself went.
    const report = file === STDOUT ? io.stderr : io.stdout;
    report.write(output === "json" ? savedJson(file, received, sha256) : savedText(file, received, sha256));
  } finally {
    await target.abandon();
  }
}

function savedText(file: string, { header: saved }: ReceivedSnapshot, sha256: string): string {
  const { header } = saved;
  const lines = [
    `saved cluster ${header?.clusterId ?? ""} to ${file}, as member ${header?.memberId ?? ""} has it`,
    `index ${String(saved.index)}, term ${String(saved.term)}, revision ${String(header?.revision ?? 0n)}, ` +
      `members ${String(saved.memberCount)}`,
    `bytes ${String(saved.sizeBytes)}, sha256 ${sha256}`,
  ];
  return `${lines.map(printable).join("\n")}\n`;
}

function savedJson(file: string, { header: saved }: ReceivedSnapshot, sha256: string): string {
  const { header, index, term, sizeBytes, memberCount } = saved;
  const { clusterId = "", memberId = "", revision = 0n } = header ?? {};
  return json({ file, clusterId, memberId, index, term, revision, memberCount, sizeBytes, sha256 });
}

function snapshotText(report: SnapshotReport): string {
  const { file, clusterId, memberId, index, term, revision, members, tombstoneCount } = report;
  const when = new Date(report.timeMs).toISOString();
  const lines = [
    `${file}: whole; cluster ${clusterId}, saved from member ${memberId} by muster ${report.version} at ${when}`,
    `index ${String(index)}, term ${String(term)}, revision ${String(revision)}, ` +
      `members ${String(members.length)}, tombstones ${String(tombstoneCount)}`,
    `bytes ${String(report.sizeBytes)}, sha256 ${report.sha256}`,
  ];
  const rows = members.map(({ id, name, role, started, peerUrls, adminUrls }) => {
    return [id, name, role, started ? "yes" : "no", peerUrls.join(","), adminUrls.join(",")];
  });
  const table = renderTable(["ID", "NAME", "ROLE", "STARTED", "PEER URL", "ADMIN URL"], rows);
  return `${lines.map(printable).join("\n")}\n\n${table}`;
}

function restoreText(report: RestoreReport): string {
  const { members, ended } = report;
  const own = members.find(({ id }) => id === report.memberId);
  const names = (list: readonly { id: string; name: string }[]): string =>
    list.map(({ id, name }) => `${name} (${id})`).join(", ");
  const lines = [
    `restored ${report.file} into ${report.dataDir}`,
    `from: cluster ${report.oldClusterId} at index ${String(report.oldIndex)}, revision ${String(report.oldRevision)}`,
    `to: new cluster ${report.clusterId}, in which this is ${own?.name ?? ""} (${report.memberId}); ` +
      `voters ${names(members)}`,
    `its log begins after index ${String(report.index)}, its revision is ${String(report.revision)}`,
    `tombstones ${String(report.tombstoneCount)}, of them from now on the members of the old cluster: ${names(ended)}`,
    `dropped: ${String(report.droppedOutcomes)} remembered request ids`,
    "",
    "when every member of the new cluster has its data directory, start each as usual:",
    `  muster server --name ${own?.name ?? ""} --peer-url ${own?.peerUrl ?? ""} --admin-url URL --data-dir ${report.dataDir}`,
  ];
  return `${lines.map(printable).join("\n")}\n`;
}

/** A report as one line of JSON. All numbers are text, as 64-bit numbers are in proto3 JSON. */
function json(report: object): string {
  const text = (_key: string, value: unknown): unknown =>
    typeof value === "number" || typeof value === "bigint" ? String(value) : value;
  return `${JSON.stringify(report, text)}\n`;
}
