/**
 * `muster member list|add|update|promote|remove`: lists and changes the members.
 */
import { Option } from "commander";
import type { Command } from "commander";
import { DEFAULT_TIMEOUT_MS, MemberTarget } from "../client";
import type { CallOptions, Member, ResponseHeader } from "../client";
import {
  AddMemberResponse,
  ChangeMembersResponse,
  DeleteMemberResponse,
  GetMembersResponse,
  PromoteMemberResponse,
  UpdateAdminURLResponse,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
import { ExitCode, UsageError } from "./io";
import type { Io } from "./io";
import { WAIT_TIMEOUT_MS, waitUntilVoter } from "./member_wait";
import { parseRevision, readWithFallback, withClient } from "./options";
import type { CommandContext } from "./options";
import { answeredBy, jsonLine, memberTable, printable } from "./output";

interface WriteOptions {
  readonly requestId?: string;
  readonly expectedRevision?: bigint;
  readonly dryRun?: boolean;
  readonly note?: string;
}
interface AddOptions extends WriteOptions {
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
interface PromoteOptions extends WriteOptions {
  readonly id?: string;
}
interface ChangeOptions extends WriteOptions {
  readonly promote?: string;
  readonly demote?: string;
  readonly remove?: string;
}
interface RemoveOptions extends WriteOptions {
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
  withWriteOptions(
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
  withWriteOptions(
    member
      .command("promote [name]")
      .description("make a voter of a learner that is ready")
      .option("--id <id>", "the member's id, instead of its name or beside it"),
  ).action((name: string | undefined, options: PromoteOptions, command: Command) => {
    requireMember(name, options.id);
    return withClient(command, io, (context) => promote(context, name, options));
  });
  withWriteOptions(
    member
      .command("remove [name]")
      .description("remove a member for good")
      .option("--id <id>", "the member's id, instead of its name or beside it")
      .option("--peer-url <url>", "refuse unless this is its peer URL"),
  ).action((name: string | undefined, options: RemoveOptions, command: Command) => {
    requireMember(name, options.id);
    return withClient(command, io, (context) => remove(context, name, options));
  });
}

/** Adds the `members` command: one change of several members. */
export function addMembersCommands(program: Command, io: Io): void {
  withWriteOptions(
    program
      .command("members")
      .description("change several members at once")
      .command("change")
      .description("promote, demote and remove members in one change, all of them or none")
      .option("--promote <list>", "learners that become voters: names, or id:HEX, comma-separated")
      .option("--demote <list>", "voters that become learners")
      .option("--remove <list>", "members that are removed for good"),
  ).action((options: ChangeOptions, command: Command) => {
    if (options.promote === undefined && options.demote === undefined && options.remove === undefined)
      throw new UsageError("give --promote, --demote or --remove");
    return withClient(command, io, (context) => change(context, options));
  });
}

async function change({ client, io, output }: CommandContext, options: ChangeOptions): Promise<void> {
  const [promote, demote, remove] = [options.promote, options.demote, options.remove].map(selectors);
  const response = await client.changeMembers(
    { promote, demote, remove, ...writeFields(options) },
    repeating(options),
  );
  if (output === "json") {
    io.stdout.write(jsonLine(ChangeMembersResponse, response));
    return;
  }
  const { header, members } = response;
  if (options.dryRun === true) io.stdout.write("dry run: the members can be changed; nothing was changed\n");
  else {
    const first = `changed the members at revision ${String(header?.revision ?? 0n)}\n`;
    io.stdout.write(`${first}\n${memberTable(members, header?.leaderId ?? "")}`);
  }
}

/** No name has a colon. */
function selectors(list: string | undefined): { name?: string; id?: string }[] {
  if (list === undefined) return [];
  return list
    .split(",")
    .map((word) => word.trim())
    .map((word) => (word.startsWith("id:") ? { id: word.slice(3) } : { name: word }));
}

function withWriteOptions(command: Command): Command {
  return command
    .option("--request-id <text>", "makes the command safe to repeat: the same id and content happen once")
    .option("--expected-revision <number>", "refuse unless the roster is at this revision", parseRevision)
    .option("--dry-run", "check everything, change nothing")
    .option("--note <text>", "why, for those who read the history: at most 256 characters in one line");
}

function requireMember(name: string | undefined, id: string | undefined): void {
  if (name === undefined && id === undefined) throw new UsageError("name the member: by NAME, --id or both");
}

/** The request fields that all writes have in common. */
function writeFields(options: WriteOptions): {
  requestId: string | undefined;
  expectedRevision: bigint | undefined;
  validateOnly: boolean;
  note: string | undefined;
} {
  return {
    requestId: options.requestId,
    expectedRevision: options.expectedRevision,
    validateOnly: options.dryRun === true,
    note: options.note,
  };
}

/** A request id on the command line repeats an earlier command, whose attempts may still be on their way. */
function repeating({ requestId }: WriteOptions): CallOptions {
  return { repeats: requestId !== undefined };
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
  const { client, io, output, remainingMs } = context;
  const { peerUrl, adminUrl, wait = false } = options;
  const target = TARGETS[options.target];
  const response = await client.addMember(
    { name, peerUrl, adminUrl, target, ...writeFields(options) },
    // The time of a command that waits is for the wait.
    { ...repeating(options), timeoutMs: wait ? Math.min(DEFAULT_TIMEOUT_MS, remainingMs()) : undefined },
  );
  const dryRun = options.dryRun === true;
  const { member } = response;
  io.stdout.write(output === "json" ? jsonLine(AddMemberResponse, response) : added(dryRun, response));
  if (wait && !dryRun && member !== undefined) await untilItVotes(context, member, exitWith);
}

function added(dryRun: boolean, { member, members, header }: AddMemberResponse): string {
  const first = changed(dryRun, "added", member, header);
  if (dryRun || member === undefined) return first;
  return `${first}\n${memberTable(members, header?.leaderId ?? "")}\n${startHint(member, members)}`;
}

async function untilItVotes(
  context: CommandContext,
  member: Member,
  exitWith: (code: number) => void,
): Promise<void> {
  const { io, output } = context;
  const outcome = await waitUntilVoter(context, member);
  const name = printable(member.name);
  if (outcome === "votes") {
    if (output === "table") io.stdout.write(`\n${name} (${printable(member.id)}) is a voter now\n`);
    return;
  }
  io.stderr.write(
    outcome === "removed"
      ? `muster: ${name} was removed meanwhile\n`
      : `muster: ${name} is added, and no voter yet; it becomes one by itself, see \`muster cluster\`\n`,
  );
  exitWith(outcome === "removed" ? ExitCode.Refused : ExitCode.Unavailable);
}

async function promote(
  { client, io, output }: CommandContext,
  name: string | undefined,
  options: PromoteOptions,
): Promise<void> {
  const { id } = options;
  const response = await client.promoteMember({ name, id, ...writeFields(options) }, repeating(options));
  const dryRun = options.dryRun === true;
  if (output === "json") io.stdout.write(jsonLine(PromoteMemberResponse, response));
  else
    io.stdout.write(changed(dryRun, "promoted", response.member, response.header) + after(dryRun, response));
}

async function update(
  { client, io, output }: CommandContext,
  name: string | undefined,
  options: UpdateOptions,
): Promise<void> {
  const { id, peerUrl, adminUrl } = options;
  const target = { name, id, ...writeFields(options) };
  const dryRun = options.dryRun === true;
  if (peerUrl === undefined) {
    const adminUrls = (adminUrl ?? "").split(",").map((url) => url.trim());
    const response = await client.updateAdminUrl({ ...target, adminUrls }, repeating(options));
    const text = changed(dryRun, "updated", response.member, response.header);
    io.stdout.write(output === "json" ? jsonLine(UpdateAdminURLResponse, response) : text);
    return;
  }
  const response = await client.updateMember({ ...target, newPeerUrl: peerUrl }, repeating(options));
  if (output === "json") io.stdout.write(jsonLine(UpdateMemberResponse, response));
  else
    io.stdout.write(changed(dryRun, "updated", response.member, response.header) + after(dryRun, response));
}

async function remove(
  { client, io, output }: CommandContext,
  name: string | undefined,
  options: RemoveOptions,
): Promise<void> {
  const { id, peerUrl } = options;
  const response = await client.deleteMember(
    { name, id, peerUrl, ...writeFields(options) },
    repeating(options),
  );
  const dryRun = options.dryRun === true;
  if (output === "json") io.stdout.write(jsonLine(DeleteMemberResponse, response));
  else
    io.stdout.write(changed(dryRun, "removed", response.member, response.header) + after(dryRun, response));
}

/** One sentence about the change, or about its dry run. */
function changed(
  dryRun: boolean,
  verb: string,
  member: Member | undefined,
  header: ResponseHeader | undefined,
): string {
  const name = printable(member?.name ?? "");
  if (dryRun) return `dry run: member ${name} can be ${verb}; nothing was changed\n`;
  const id = printable(member?.id ?? "");
  return `${verb} member ${name} (${id}) at revision ${String(header?.revision ?? 0n)}\n`;
}

function after(
  dryRun: boolean,
  response: { members: readonly Member[]; header: ResponseHeader | undefined },
): string {
  return dryRun ? "" : `\n${memberTable(response.members, response.header?.leaderId ?? "")}`;
}

/** The command line that starts the added member. */
function startHint(added: Member, members: readonly Member[]): string {
  const cluster = members
    .flatMap((member) => member.peerUrls.map((url) => `${member.name}=${url}`))
    .join(",");
  const lines = [
    "start it, with an empty data directory and the admin URL of your choice:",
    `  muster server --name ${added.name} --peer-url ${added.peerUrls.join(",")} \\`,
    `    --admin-url ${added.adminUrls[0] ?? "URL"} --data-dir ${added.name}.data \\`,
    `    --initial-cluster-state existing --initial-cluster ${cluster}`,
  ];
  return `${lines.map(printable).join("\n")}\n`;
}
