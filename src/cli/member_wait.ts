/**
 * `--wait` of `muster member add` and `muster member replace`: waits until the new member is what it is to become, and says
 * meanwhile what it lacks.
 *
 * Only looks: the leader does it by itself, whether or not this command still waits.
 */
import { MemberRole, MusterError, systemClock } from "../client";
import type { GetClusterResponse, Member, MemberStatus } from "../client";
import { isUnavailable } from "./failure";
import { ExitCode } from "./io";
import { printable } from "./output";
import type { CommandContext } from "./options";

/** Time for a command that waits, in milliseconds, when --timeout is missing: to start the member, and to fill its disk. */
export const WAIT_TIMEOUT_MS = 10 * 60_000;
/** Between two looks, in milliseconds. A promotion takes two election timeouts, and a look is one read at the leader. */
const LOOK_MS = 500;
/** Time for one look, in milliseconds. */
const LOOK_TIMEOUT_MS = 5000;

type Named = Pick<Member, "id" | "name">;

/** What is waited for: the member votes, or the old one, whose place it takes, is gone. Null: it takes nobody's place. */
export type Goal =
  | { readonly kind: "votes"; readonly old: Named | null }
  | { readonly kind: "in place of"; readonly old: Named };

type Outcome = "reached" | "removed" | "late" | "late, and promoted by hand";

/** Waits for the goal and says how it ended. Progress goes to stderr, a line whenever there is something else to say. */
export async function waitForGoal(
  context: CommandContext,
  member: Named,
  goal: Goal,
  exitWith: (code: number) => void,
): Promise<void> {
  const { io, output } = context;
  const outcome = await lookUntil(context, member, goal);
  const name = printable(member.name);
  if (outcome === "reached") {
    const who = `${name} (${printable(member.id)})`;
    const text =
      goal.kind === "votes" ? "is a voter now" : `has taken the place of ${printable(goal.old.name)}`;
    if (output === "table") io.stdout.write(`\n${who} ${text}\n`);
    return;
  }
  const text =
    outcome === "removed"
      ? `${name} was removed meanwhile`
      : `${name} is added, and ${unfinished(goal, outcome)}, see \`muster cluster\``;
  io.stderr.write(`muster: ${text}\n`);
  exitWith(outcome === "removed" ? ExitCode.Refused : ExitCode.Unavailable);
}

function unfinished({ old }: Goal, outcome: Outcome): string {
  if (old !== null) return `has not taken the place of ${printable(old.name)} yet; it does so by itself`;
  const next = outcome === "late" ? "it becomes one by itself" : "auto-promote is off";
  return `no voter yet; ${next}`;
}

/** "removed": it is no member any more. */
async function lookUntil(
  { client, io, remainingMs, clock = systemClock }: CommandContext,
  { id, name }: Named,
  goal: Goal,
): Promise<Outcome> {
  let said = "";
  let late: Outcome = "late";
  const say = (text: string): void => {
    if (text !== said) io.stderr.write(`muster: waiting for ${printable(name)}: ${printable(text)}\n`);
    said = text;
  };
  while (remainingMs() > LOOK_MS) {
    try {
      const timeoutMs = Math.min(LOOK_TIMEOUT_MS, remainingMs());
      const cluster = await client.getCluster({}, { timeoutMs });
      const found = cluster.members.find(({ member }) => member?.id === id);
      if (found?.member === undefined) return "removed";
      if (isReached(goal, found.member, cluster)) return "reached";
      late = isPromotedByHand(found.member, cluster) ? "late, and promoted by hand" : "late";
      say(progressOf(found, goal, cluster));
    } catch (error) {
      if (!(error instanceof MusterError) || !isUnavailable(error)) throw error;
      say(`no answer (${error.label}); looking again`);
    }
    await clock.sleep(LOOK_MS);
  }
  return late;
}

/** Replacements are finished in any case. */
function isPromotedByHand({ replaces }: Member, { settings }: GetClusterResponse): boolean {
  return replaces === "" && settings?.autoPromote === false;
}

function isReached(goal: Goal, { role }: Member, { members }: GetClusterResponse): boolean {
  if (goal.kind === "votes") return role === MemberRole.VOTER;
  return !members.some(({ member }) => member?.id === goal.old.id);
}

/** What the member lacks, as far as the leader's answer says. */
function progressOf(status: MemberStatus, goal: Goal, cluster: GetClusterResponse): string {
  const { member, reachable, lagEntries, diskFull } = status;
  if (member?.started !== true) {
    return reachable === true ? "it is starting" : "it has not started: start it now";
  }
  if (reachable !== true) return "the leader is not in contact with it";
  if (diskFull === true) return "its disk is full";
  const behind = lagEntries ?? 0n;
  if (behind > 0n) return `its log is ${String(behind)} of ${String(cluster.commitIndex)} entries behind`;
  if (goal.kind === "in place of")
    return `its log is complete; it takes the place of ${goal.old.name} when it has been in contact for two election timeouts`;
  if (isPromotedByHand(member, cluster))
    return `its log is complete; auto-promote is off, so it votes after \`muster member promote ${member.name}\``;
  return "its log is complete; it votes when it has been in contact for two election timeouts";
}
