/**
 * `muster wal inspect|verify DIR`: reads the data directory of a member. Changes nothing and takes no lock. While the
 * member runs, the report may lag behind by some moments, and reading may fail on a file that is being replaced.
 */
import { basename } from "node:path";
import type { Command } from "commander";
import { ExitCode } from "./io";
import type { Io } from "./io";
import type { LoadOffline, LogReport, PlaceReport } from "./offline_commands";
import { refuseClientOptions } from "./options";
import type { OutputFormat } from "./output";
import { printable, renderTable } from "./output";

/** Adds the `wal` command and its subcommands to the program. */
export function addWalCommands(
  program: Command,
  io: Io,
  offline: LoadOffline,
  exitWith: (code: number) => void,
): void {
  const wal = program.command("wal").description("look at a member's data directory; changes nothing");
  const format = (command: Command): OutputFormat => {
    refuseClientOptions(command, program, ["endpoints", "timeout"]);
    return command.optsWithGlobals<{ output?: OutputFormat }>().output ?? "table";
  };
  wal
    .command("inspect <dir>")
    .description("show what is in the log: segments, entries, snapshots, term and vote")
    .option("--entries", "list every entry")
    .action(async (dir: string, options: { entries?: boolean }, command: Command) => {
      const output = format(command);
      const report = await offline().readLog(dir, options.entries === true);
      io.stdout.write(output === "json" ? reportJson(report) : reportText(report, options.entries === true));
    });
  wal
    .command("verify <dir>")
    .description(
      "read every byte of log and snapshots, and say what is damaged; exit code 1 when something is",
    )
    .action(async (dir: string, _options: object, command: Command) => {
      const output = format(command);
      const report = await offline().readLog(dir, false);
      exitWith(report.damage.length === 0 ? ExitCode.Ok : ExitCode.Refused);
      if (output === "json") {
        io.stdout.write(reportJson(report));
        return;
      }
      for (const place of report.damage) io.stderr.write(`muster: ${printable(place.text)}\n`);
      io.stdout.write(verdict(report));
    });
}

/** The report as one line of JSON. All numbers are text, as 64-bit numbers are in proto3 JSON. */
function reportJson(report: LogReport): string {
  const text = (_key: string, value: unknown): unknown => (typeof value === "number" ? String(value) : value);
  return `${JSON.stringify(report, text)}\n`;
}

function verdict(report: LogReport): string {
  const { dir, segments, snapshots, tornTail, damage } = report;
  const counts = `${String(segments.length)} segments, ${entriesText(report)}, ${String(snapshots.length)} snapshots`;
  const lines: string[] = [];
  if (tornTail !== null) lines.push(`note: ${tornText(tornTail)}; the next start cuts it off`);
  if (damage.length === 0) lines.push(`ok: ${dir}: ${counts}, no damage`);
  else if (report.usable)
    lines.push(
      `damaged: ${dir}: ${counts}; the log and an older snapshot hold the same state, nothing is lost`,
    );
  else lines.push(`damaged: ${dir}: ${counts}; a member does not start from it`);
  return `${lines.map(printable).join("\n")}\n`;
}

function reportText(report: LogReport, withEntries: boolean): string {
  const { clusterId, memberId, instanceId, term, vote, commit, removed, tornTail, damage, leftovers } =
    report;
  const lines = [
    `cluster ${clusterId}, member ${memberId}, instance ${instanceId}`,
    ...(removed === null ? [] : [`removed from its cluster: ${removed}`]),
    `hard state: term ${String(term)}, vote ${vote === "" ? "none" : vote}, commit ${String(commit)}`,
    `log: ${entriesText(report)}, ${String(report.bytesSinceSnapshot)} bytes after the newest snapshot`,
    `torn tail: ${tornTail === null ? "none" : tornText(tornTail)}`,
    ...damage.map(({ text }) => `damage: ${text}`),
    ...(leftovers.length === 0 ? [] : [`left over from unfinished work: ${leftovers.join(", ")}`]),
  ];
  const tables = [segmentTable(report), snapshotTable(report)];
  if (withEntries) tables.push(entryTable(report));
  return `${lines.map(printable).join("\n")}\n\n${tables.join("\n")}`;
}

function entriesText({ firstIndex, lastIndex }: { firstIndex: number; lastIndex: number }): string {
  return lastIndex < firstIndex ? "no entries" : `entries ${String(firstIndex)} to ${String(lastIndex)}`;
}

function tornText(torn: PlaceReport & { readonly sizeBytes: number }): string {
  const at = `${String(torn.sizeBytes)} bytes of ${torn.file} from byte ${String(torn.offset)} on`;
  return `${at} (${torn.text}); nothing in it was acknowledged`;
}

function segmentTable({ segments }: LogReport): string {
  const rows = segments.map(({ file, firstIndex, lastIndex, records, usedBytes, fileBytes }) => {
    const range = lastIndex < firstIndex ? ["", ""] : [String(firstIndex), String(lastIndex)];
    return [basename(file), ...range, String(records), String(usedBytes), String(fileBytes)];
  });
  return renderTable(["SEGMENT", "FIRST", "LAST", "RECORDS", "USED BYTES", "FILE BYTES"], rows);
}

function snapshotTable({ snapshots }: LogReport): string {
  if (snapshots.length === 0) return "no snapshots\n";
  const rows = snapshots.map(({ name, index, term }) => [name, String(index), String(term)]);
  return renderTable(["SNAPSHOT", "INDEX", "TERM"], rows);
}

function entryTable({ entries }: LogReport): string {
  const rows = entries.map(({ index, term, kind, confChange, requestId, sizeBytes }) => {
    return [String(index), String(term), kind, confChange ? "yes" : "no", requestId, String(sizeBytes)];
  });
  return renderTable(["INDEX", "TERM", "COMMAND", "CONF CHANGE", "REQUEST ID", "BYTES"], rows);
}
