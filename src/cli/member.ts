/**
 * `muster member list|add|update|promote|remove`: lists the members and changes one; member_replace.ts has `replace`.
 */
import { Option } from "commander";
import type { Command } from "commander";
import { DEFAULT_TIMEOUT_MS, MemberTarget } from "../client";
import {
  AddMemberResponse,
  DeleteMemberResponse,
  GetMembersResponse,
  PromoteMemberResponse,
  UpdateAdminURLResponse,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
import { makeChange, withChangeOptions } from "./change";
import type { ChangeOptions } from "./change";
import { UsageError } from "./io";
import type { Io } from "./io";
import { addReplaceCommand } from "./member_replace";
import { changedText, possibleText, startHint } from "./member_text";
import { WAIT_TIMEOUT_MS, waitForGoal } from "./member_wait";
import { readWithFallback, withClient } from "./options";
import type { CommandContext } from "./options";
import { answeredBy, jsonLine, memberTable } from "./output";
import { requireMember, withWriteOptions } from "./write_options";
import type { WriteOptions } from "./write_options";

interface AddOptions extends ChangeOptions {
  readonly peerUrl: string;
  readonly adminUrl?: string;
  readonly target: keyof typeof TARGETS;
  readonly wait?: boolean;
}
interface UpdateOptions extends WriteOptions {
  readonly id?: string;
  readonly peerUrl?: string;
  readonly adminUrl?: string;
}
interface PromoteOptions extends ChangeOptions {
  readonly id?: string;
}
interface RemoveOptions extends ChangeOptions {
  readonly id?: string;
  readonly peerUrl?: string;
}

/** What --target takes. */
const TARGETS = {
  voter: MemberTarget.VOTER,
  learner: MemberTarget.LEARNER,
  standby: MemberTarget.STANDBY,
} as const;

/** Adds the `member` command and its subcommands to the program. */
export function addMemberCommands(program: Command, io: Io, exitWith: (code: number) => void): void {
  const member = program.command("member").description("look at and change the members");
  member
    .command("list")
    .description("list the members")
    .option("--serializable", "ask one member alone: needs no quorum, may be old")
    .action((options: { serializable?: boolean }, command: Command) =>
      withClient(command, io, (context) => list(context, options.serializable === true)),
    );
  withChangeOptions(
    member
      .command("add <name>")
      .description(
        "add a member; start it afterwards with --initial-cluster-state existing, and it becomes a voter by itself",
      )
      .requiredOption("--peer-url <url>", "where the other members will reach it")
      .option("--admin-url <url>", "where clients will reach it; it publishes its own when it starts")
      .addOption(
        new Option(
          "--target <what>",
          "what it becomes: learner stays one, standby takes a dead voter's place",
        )
          .choices(Object.keys(TARGETS))
          .default("voter"),
      )
      .option("--wait", "end when it votes, with its progress on stderr (--timeout: 10 minutes)"),
  ).action((name: string, options: AddOptions, command: Command) => {
    const waits = options.wait === true;
    if (waits && options.target !== "voter")
      throw new UsageError(`--wait waits until the member votes, and a ${options.target} does not`);
    const timeoutMs = waits ? WAIT_TIMEOUT_MS : DEFAULT_TIMEOUT_MS;
    return withClient(command, io, (context) => add(context, name, options, exitWith), timeoutMs);
  });
  withWriteOptions(
    member
      .command("update [name]")
      .description("change a member's peer URL, or its admin URLs")
      .option("--id <id>", "the member's id, instead of its name or beside it")
      .option("--peer-url <url>", "where the other members reach it from now on")
      .option("--admin-url <list>", "where clients reach it from now on, comma-separated"),
  ).action((name: string | undefined, options: UpdateOptions, command: Command) => {
    requireMember(name, options.id);
    if ((options.peerUrl === undefined) === (options.adminUrl === undefined)) {
      throw new UsageError("give one of --peer-url and --admin-url: each is a change of its own");
    }
    return withClient(command, io, (context) => update(context, name, options));
  });
  withChangeOptions(
    member
      .command("promote [name]")
      .description("make a voter of a learner that is ready")
      .option("--id <id>", "the member's id, instead of its name or beside it"),
  ).action((name: string | undefined, options: PromoteOptions, command: Command) => {
    requireMember(name, options.id);
    return withClient(command, io, (context) => promote(context, name, options));
  });
  withChangeOptions(
    member
      .command("remove [name]")
      .description("remove a member for good")
      .option("--id <id>", "the member's id, instead of its name or beside it")
      .option("--peer-url <url>", "refuse unless this is its peer URL"),
  ).action((name: string | undefined, options: RemoveOptions, command: Command) => {
    requireMember(name, options.id);
    return withClient(command, io, (context) => remove(context, name, options));
  });
  addReplaceCommand(member, io, exitWith);
}

async function list(context: CommandContext, serializable: boolean): Promise<void> {
  const { client, io, output } = context;
  const { answer: response } = await readWithFallback(context, serializable, (consistency, options) =>
    client.getMembers({ consistency }, options),
  );
  if (output === "json") {
    io.stdout.write(jsonLine(GetMembersResponse, response));
    return;
  }
  const { header, members } = response;
  io.stdout.write(`${memberTable(members, header?.leaderId ?? "")}\n${answeredBy(header, members)}`);
}

async function add(
  context: CommandContext,
  name: string,
  options: AddOptions,
  exitWith: (code: number) => void,
): Promise<void> {
  const { peerUrl, adminUrl, wait = false } = options;
  const request = { name, peerUrl, adminUrl, target: TARGETS[options.target] };
  const response = await makeChange(context, options, {
    call: (fields, callOptions) => context.client.addMember({ ...request, ...fields }, callOptions),
    type: AddMemberResponse,
    possible: (found) => possibleText("added", found),
    done: added,
    // The time of a command that waits is for the wait.
    ...(wait ? { callMsMax: DEFAULT_TIMEOUT_MS } : {}),
  });
  if (!wait || response?.member === undefined) return;
  await waitForGoal(context, response.member, { kind: "votes", old: null }, exitWith);
}

function added(response: AddMemberResponse): string {
  const { member, members } = response;
  return `${changedText("added", response)}${member === undefined ? "" : `\n${startHint(member, members)}`}`;
}

async function promote(
  context: CommandContext,
  name: string | undefined,
  options: PromoteOptions,
): Promise<void> {
  const request = { name, id: options.id };
  await makeChange(context, options, {
    call: (fields, callOptions) => context.client.promoteMember({ ...request, ...fields }, callOptions),
    type: PromoteMemberResponse,
    possible: (found) => possibleText("promoted", found),
    done: (response) => changedText("promoted", response),
  });
}

async function update(
  context: CommandContext,
  name: string | undefined,
  options: UpdateOptions,
): Promise<void> {
  const { client } = context;
  const { id, peerUrl, adminUrl } = options;
  const outcome = {
    asks: false,
    possible: (found: Pick<UpdateMemberResponse, "member">) => possibleText("updated", found),
    done: (response: Pick<UpdateMemberResponse, "member" | "header">) => changedText("updated", response),
  };
  if (peerUrl !== undefined) {
    await makeChange(context, options, {
      call: (fields, callOptions) =>
        client.updateMember({ name, id, newPeerUrl: peerUrl, ...fields }, callOptions),
      type: UpdateMemberResponse,
      ...outcome,
    });
    return;
  }
  const adminUrls = (adminUrl ?? "").split(",").map((url) => url.trim());
  await makeChange(context, options, {
    call: (fields, callOptions) => client.updateAdminUrl({ name, id, adminUrls, ...fields }, callOptions),
    type: UpdateAdminURLResponse,
    ...outcome,
  });
}

async function remove(
  context: CommandContext,
  name: string | undefined,
  options: RemoveOptions,
): Promise<void> {
  const request = { name, id: options.id, peerUrl: options.peerUrl };
  await makeChange(context, options, {
    call: (fields, callOptions) => context.client.deleteMember({ ...request, ...fields }, callOptions),
    type: DeleteMemberResponse,
    possible: (found) => possibleText("removed", found),
    done: (response) => changedText("removed", response),
  });
}
