/**
 * `muster doctor`: asks every endpoint and every member, and says what is wrong with the cluster, what it survives now,
 * and what to do next.
 */
import type { Command } from "commander";
import { diagnose, failures } from "./doctor_findings";
import type { Diagnosis, Patient, Verdict } from "./doctor_findings";
import { ExitCode } from "./io";
import type { Io } from "./io";
import { surveyContext } from "./options";
import { printable, renderTable, shortTime } from "./output";
import { survey } from "./survey";

const EXIT_CODES: Readonly<Record<Verdict, number>> = {
  healthy: ExitCode.Ok,
  degraded: ExitCode.Refused,
  "no quorum": ExitCode.Unavailable,
  "no answer": ExitCode.Unavailable,
};

/** Adds the `doctor` command to the program. */
export function addDoctorCommand(program: Command, io: Io, exitWith: (code: number) => void): void {
  program
    .command("doctor")
    .description("say what is wrong with the cluster, what it survives now, and what to do next")
    .addHelpText(
      "after",
      "\nExit codes: 0 healthy, 1 works but survives fewer failures than it should, 2 usage, 3 no quorum or no answer.",
    )
    .action(async (_options: object, command: Command) => {
      const { output, ...context } = surveyContext(command, io);
      const diagnosis = diagnose(await survey(context));
      io.stdout.write(output === "json" ? `${JSON.stringify(diagnosis)}\n` : diagnosisText(diagnosis));
      exitWith(EXIT_CODES[diagnosis.verdict]);
    });
}

function diagnosisText(diagnosis: Diagnosis): string {
  const { verdict, clusterId, leader, survives, shouldSurvive, members, findings } = diagnosis;
  const lines = [`${verdict}${clusterId === "" ? "" : `: cluster ${clusterId}`}`];
  if (members.length > 0) {
    const now = survives === null ? "unknown" : failures(survives);
    lines.push(`leader: ${leader === "" ? "none that a quorum confirms" : leader}`);
    lines.push(`survives now: ${now}; with all voters well: ${failures(shouldSurvive)}`);
  }
  const parts = [`${lines.map(printable).join("\n")}\n`];
  if (members.length > 0) {
    parts.push(memberTable(members));
    parts.push(`time since each member (row) last heard from each other one (column):\n${hearing(members)}`);
  }
  if (findings.length > 0) {
    parts.push(`${findings.map(({ level, text }) => printable(`${level}: ${text}`)).join("\n")}\n`);
  }
  const steps = [...new Set(findings.map(({ next }) => next))].filter((next) => next !== "");
  if (steps.length > 0) {
    const numbered = steps.map((step, i) => printable(`  ${String(i + 1)}. ${step}`));
    parts.push(`what to do next:\n${numbered.join("\n")}\n`);
  }
  return parts.join("\n");
}

function memberTable(members: readonly Patient[]): string {
  const headers = [
    "NAME",
    "ID",
    "ROLE",
    "ANSWERS AT",
    "SERVES",
    "LEADER",
    "TERM",
    "REVISION",
    "LAG",
    "DISK",
    "VERSION",
  ];
  const text = (value: number | null): string => (value === null ? "" : String(value));
  const rows = members.map((member) => [
    member.name,
    member.id,
    member.role,
    member.answersAt.join(","),
    member.serving === null ? "" : member.serving ? "yes" : "no",
    member.leader === "" ? "none" : (member.leader ?? ""),
    text(member.term),
    text(member.revision),
    text(member.lagEntries),
    member.diskFull === null ? "" : member.diskFull ? "full" : "ok",
    member.version,
  ]);
  return renderTable(headers, rows);
}

/** Who hears whom: a row for each member that answered. */
export function hearing(members: readonly Pick<Patient, "id" | "name" | "answersAt" | "heard">[]): string {
  const rows = members
    .filter(({ answersAt }) => answersAt.length > 0)
    .map((row) => [
      row.name,
      ...members.map((column) => {
        if (column.id === row.id) return ".";
        const ms = row.heard[column.id];
        return ms === undefined || ms === null ? "never" : shortTime(ms);
      }),
    ]);
  return renderTable(["", ...members.map(({ name }) => name)], rows);
}
