/**
 * One change of the members: what it does to the quorum is shown before it is done. A dry run shows it and ends. On a
 * terminal a person is asked about a change after which the cluster survives fewer failures, at any of its steps.
 */
import type { Command } from "commander";
import { MusterError } from "../client";
import type { CallOptions, QuorumStep, ResponseHeader } from "../client";
import { ConfirmedChangeError } from "./failure";
import type { CommandContext } from "./options";
import { jsonLine, renderTable } from "./output";
import { withWriteOptions, writeFields } from "./write_options";
import type { WriteFields, WriteOptions } from "./write_options";

/** The parsed options of a change, as commander names them. */
export interface ChangeOptions extends WriteOptions {
  readonly yes?: boolean;
}

interface ChangeResponse {
  readonly header: ResponseHeader | undefined;
  /** Empty from a leader of an older version, and for what changes no member's vote. */
  readonly quorumSteps?: readonly QuorumStep[];
}

/** One change, and how its outcome is told. */
interface Change<Res extends ChangeResponse> {
  readonly call: (fields: WriteFields, options: CallOptions) => Promise<Res>;
  readonly type: { toJSON(response: Res): unknown };
  /** What a dry run found, such as "member n4 can be added". */
  readonly possible: (response: Res) => string;
  readonly done: (response: Res) => string;
  /** False: it changes no quorum, and nobody is asked. @default true */
  readonly asks?: boolean;
  /** Most milliseconds for one call, where the time of the command is for more than the call. @default no bound */
  readonly callMsMax?: number;
}

export function withChangeOptions(command: Command): Command {
  return withWriteOptions(command).option(
    "-y, --yes",
    "do not ask: on a terminal, a change that lowers how many failures the cluster survives is asked about",
  );
}

/**
 * Makes the change and prints its outcome.
 * @returns the response; null: a dry run, or the change was shown and is not wanted
 */
export async function makeChange<Res extends ChangeResponse>(
  context: CommandContext,
  options: ChangeOptions,
  change: Change<Res>,
): Promise<Res | null> {
  const { io, output } = context;
  const fields = writeFields(options);
  if (fields.validateOnly) {
    const response = await change.call(fields, limits(context, change));
    io.stdout.write(output === "json" ? jsonLine(change.type, response) : dryRunText(change, response));
    return null;
  }
  const seen = await confirm(context, options, change);
  const response = await make(context, options, change, seen);
  io.stdout.write(output === "json" ? jsonLine(change.type, response) : change.done(response));
  return response;
}

function dryRunText<Res extends ChangeResponse>({ possible }: Change<Res>, response: Res): string {
  const { quorumSteps = [] } = response;
  const table = quorumSteps.length === 0 ? "" : `\n${stepTable(quorumSteps)}`;
  return `dry run: ${possible(response)}; nothing was changed\n${table}`;
}

/** @param seen the revision for which a person said yes; null: nobody was asked */
async function make<Res extends ChangeResponse>(
  context: CommandContext,
  options: ChangeOptions,
  change: Change<Res>,
  seen: bigint | null,
): Promise<Res> {
  const fields = writeFields(options);
  // A request id on the command line repeats an earlier command, whose attempts may still be on their way.
  const callOptions = { ...limits(context, change), repeats: options.requestId !== undefined };
  if (seen === null || options.expectedRevision !== undefined) return change.call(fields, callOptions);
  try {
    return await change.call({ ...fields, expectedRevision: seen }, callOptions);
  } catch (error) {
    throw error instanceof MusterError ? new ConfirmedChangeError(error, seen) : error;
  }
}

/**
 * Asks a person, where there is one and the change lowers what the cluster survives.
 * @returns the revision of the roster that the person was shown; null: nobody was asked
 */
async function confirm<Res extends ChangeResponse>(
  context: CommandContext,
  options: ChangeOptions,
  change: Change<Res>,
): Promise<bigint | null> {
  const { ask } = context.io;
  if (ask === undefined || options.yes === true || change.asks === false) return null;
  const { header, quorumSteps = [] } = (await preview(context, options, change)) ?? { header: undefined };
  if (!lowers(quorumSteps)) return null;
  const question = `the cluster survives fewer failures after this change:\n\n${stepTable(quorumSteps)}\ngo on? [y/N] `;
  const answer = await context.untimed(() => ask(question));
  if (!/^y(es)?$/i.test(answer.trim())) throw new Error("not confirmed; nothing was changed");
  return header?.revision ?? null;
}

/** Null: it is refused, and the refusal says nothing of an earlier attempt with the same request id, so the change itself has to. */
async function preview<Res extends ChangeResponse>(
  context: CommandContext,
  options: ChangeOptions,
  change: Change<Res>,
): Promise<Res | null> {
  try {
    return await change.call({ ...writeFields(options), validateOnly: true }, limits(context, change));
  } catch (error) {
    if (options.requestId === undefined) throw error;
    return null;
  }
}

function limits<Res extends ChangeResponse>(
  { remainingMs }: CommandContext,
  { callMsMax = Infinity }: Change<Res>,
): CallOptions {
  return { timeoutMs: Math.min(callMsMax, remainingMs()) };
}

/** The first step is the quorum as it is now. */
function lowers([now, ...after]: readonly QuorumStep[]): boolean {
  return now !== undefined && after.some((step) => step.failuresTolerated < now.failuresTolerated);
}

function stepTable(steps: readonly QuorumStep[]): string {
  const rows = steps.map(({ description, voters, quorumSize, failuresTolerated }) => [
    description,
    String(voters),
    String(quorumSize),
    String(failuresTolerated),
  ]);
  return renderTable(["STEP", "VOTERS", "QUORUM", "MAY FAIL"], rows);
}
