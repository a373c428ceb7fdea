/**
 * The options that every write takes, and the fields of a request that they become.
 */
import type { Command } from "commander";
import { UsageError } from "./io";
import { parseRevision } from "./options";

/** The parsed options of a write, as commander names them. */
export interface WriteOptions {
  readonly requestId?: string;
  readonly expectedRevision?: bigint;
  readonly dryRun?: boolean;
  readonly note?: string;
}

/** The request fields that all writes have in common. */
export interface WriteFields {
  readonly requestId: string | undefined;
  readonly expectedRevision: bigint | undefined;
  readonly validateOnly: boolean;
  readonly note: string | undefined;
}

export function withWriteOptions(command: Command): Command {
  return command
    .option("--request-id <text>", "makes the command safe to repeat: the same id and content happen once")
    .option("--expected-revision <number>", "refuse unless the roster is at this revision", parseRevision)
    .option("--dry-run", "check everything, change nothing")
    .option("--note <text>", "why, for those who read the history: at most 256 characters in one line");
}

export function writeFields(options: WriteOptions): WriteFields {
  return {
    requestId: options.requestId,
    expectedRevision: options.expectedRevision,
    validateOnly: options.dryRun === true,
    note: options.note,
  };
}

export function requireMember(name: string | undefined, id: string | undefined): void {
  if (name === undefined && id === undefined) throw new UsageError("name the member: by NAME, --id or both");
}

/** A member by name, or by id as `id:HEX`: no name has a colon. */
export function selector(word: string): { name?: string; id?: string } {
  return word.startsWith("id:") ? { id: word.slice(3) } : { name: word };
}
