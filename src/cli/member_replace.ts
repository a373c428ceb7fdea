/**
 * `muster member replace`: a new member takes the place of an old one, beside it or in place.
 */
import type { Command } from "commander";
import { DEFAULT_TIMEOUT_MS, MemberRole, MemberTarget } from "../client";
import type { Member } from "../client";
import { ReplaceMemberResponse } from "../generated/muster/v1/membership_service";
import { makeChange, withChangeOptions } from "./change";
import type { ChangeOptions } from "./change";
import { UsageError } from "./io";
import type { Io } from "./io";
import { startHint } from "./member_text";
import { WAIT_TIMEOUT_MS, waitForGoal } from "./member_wait";
import type { Goal } from "./member_wait";
import { withClient } from "./options";
import type { CommandContext } from "./options";
import { memberTable, nameOf, printable } from "./output";
import { selector } from "./write_options";

interface ReplaceOptions extends ChangeOptions {
  readonly peerUrl?: string;
  readonly adminUrl?: string;
  readonly wait?: boolean;
}

/** Adds `replace` to the command `member`. */
export function addReplaceCommand(member: Command, io: Io, exitWith: (code: number) => void): void {
  withChangeOptions(
    member
      .command("replace <old> [new]")
      .description(
        "put a new member in the place of an old one, a name or id:HEX; without NEW in place, for a member whose disk is lost",
      )
      .option("--peer-url <url>", "where the other members will reach the new one; required with NEW")
      .option("--admin-url <url>", "where clients will reach it; it publishes its own when it starts")
      .option(
        "--wait",
        "end when it has taken the place, with its progress on stderr (--timeout: 10 minutes)",
      ),
  ).action((old: string, newName: string | undefined, options: ReplaceOptions, command: Command) => {
    if (newName !== undefined && newName !== old && !old.startsWith("id:") && options.peerUrl === undefined)
      throw new UsageError(
        `give the --peer-url of ${newName}; without it only ${old} itself can be made anew`,
      );
    const timeoutMs = options.wait === true ? WAIT_TIMEOUT_MS : DEFAULT_TIMEOUT_MS;
    return withClient(command, io, (context) => replace(context, old, newName, options, exitWith), timeoutMs);
  });
}

async function replace(
  context: CommandContext,
  old: string,
  newName: string | undefined,
  options: ReplaceOptions,
  exitWith: (code: number) => void,
): Promise<void> {
  const { peerUrl, adminUrl, wait = false } = options;
  const request = { ...selector(old), newName, peerUrl, adminUrl };
  const response = await makeChange(context, options, {
    call: (fields, callOptions) => context.client.replaceMember({ ...request, ...fields }, callOptions),
    type: ReplaceMemberResponse,
    possible: () =>
      newName === undefined || newName === old
        ? `member ${printable(old)} can be made anew`
        : `member ${printable(newName)} can replace ${printable(old)}`,
    done: replaced,
    // The time of a command that waits is for the wait.
    ...(wait ? { callMsMax: DEFAULT_TIMEOUT_MS } : {}),
  });
  if (!wait || response?.member === undefined) return;
  const { member, members } = response;
  const goal = goalOf(member, members);
  if (goal === null) return;
  await waitForGoal(context, member, goal, exitWith);
}

function replaced({ header, member, members }: ReplaceMemberResponse): string {
  if (member === undefined) return "";
  const at = `at revision ${String(header?.revision ?? 0n)}`;
  const who = printable(`${member.name} (${member.id})`);
  const isBeside = members.some(({ id }) => id === member.replaces);
  const first = isBeside
    ? `added member ${who} ${at}; it takes the place of ${nameOf(members, member.replaces)} as soon as it is ready`
    : `replaced member ${printable(member.name)} ${at}; its id is ${printable(member.id)} now`;
  return `${first}\n\n${memberTable(members, header?.leaderId ?? "")}\n${startHint(member, members)}`;
}

/** What to wait for; null: nothing more happens. */
function goalOf(member: Member, members: readonly Member[]): Goal | null {
  const old = members.find(({ id }) => id === member.replaces) ?? null;
  if (old?.role === MemberRole.LEARNER) return { kind: "in place of", old };
  return old !== null || member.target === MemberTarget.VOTER ? { kind: "votes", old } : null;
}
