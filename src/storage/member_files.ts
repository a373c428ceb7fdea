/**
 * Two small files of a data directory, beside the log:
 *
 *     DIR/boots   the boot ids of the last starts: tells this directory from an older copy of it and from a copy in use
 *     DIR/met     the data directories of other members that this one has taken messages of
 *
 * Each is lines of text that end with a CRC-32 of those before, and is replaced whole: written beside, synced, renamed.
 * A directory of a version without them has neither. The lock of the directory must be held.
 */
import { INSTANCE_ID_BYTES } from "../base/random";
import { chainCrc } from "./crc";
import { writeDurably } from "./data_dir";
import { damaged } from "./errors";
import type { FileStat, StorageFs } from "./fs";
import { call } from "./fs_calls";
import { readFile, reading } from "./recovery";
import { joinPath } from "./segment";

const BOOTS_FILE = "boots";
const MET_FILE = "met";

/** The starts of a member on one data directory. */
export interface BootRecord {
  /** Log index of the last publish of this member that is known to be committed. 0: none. */
  readonly revision: number;
  /** The boot id of that publish, then those of every start since; each INSTANCE_ID_BYTES long. */
  readonly boots: readonly Uint8Array[];
}

/** Another member's data directory that this member has met. */
export interface MetInstance {
  readonly memberId: bigint;
  /** INSTANCE_ID_BYTES long. */
  readonly instanceId: Uint8Array;
}

/** Null when there is no such file. @throws DataDirError "damage" or "io" */
export async function readBoots(fs: StorageFs, dir: string): Promise<BootRecord | null> {
  const path = joinPath(dir, BOOTS_FILE);
  const lines = await readLines(fs, path);
  if (lines === null) return null;
  const [first = "", ...rest] = lines;
  const revision = Number(/^revision (\d+)$/.exec(first)?.[1] ?? NaN);
  if (!Number.isSafeInteger(revision)) throw damaged(path, 0, "the first line is no revision");
  return { revision, boots: rest.map((line) => bytesOf(path, /^boot ([0-9a-f]+)$/.exec(line)?.[1])) };
}

/** Durable when the promise resolves. @throws DataDirError "io" */
export function writeBoots(fs: StorageFs, dir: string, { revision, boots }: BootRecord): Promise<void> {
  const lines = [`revision ${revision}`, ...boots.map((boot) => `boot ${hex(boot)}`)];
  return writeLines(fs, dir, BOOTS_FILE, lines);
}

/** Empty when there is no such file. @throws DataDirError "damage" or "io" */
export async function readMet(fs: StorageFs, dir: string): Promise<readonly MetInstance[]> {
  const path = joinPath(dir, MET_FILE);
  return ((await readLines(fs, path)) ?? []).map((line) => {
    const [, id = "", instance] = /^member ([0-9a-f]{1,16}) ([0-9a-f]+)$/.exec(line) ?? [];
    if (id === "") throw damaged(path, 0, "a line names no member");
    return { memberId: BigInt(`0x${id}`), instanceId: bytesOf(path, instance) };
  });
}

/** Durable when the promise resolves. @throws DataDirError "io" */
export function writeMet(fs: StorageFs, dir: string, met: readonly MetInstance[]): Promise<void> {
  const lines = met.map(({ memberId, instanceId }) => `member ${memberId.toString(16)} ${hex(instanceId)}`);
  return writeLines(fs, dir, MET_FILE, lines);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function bytesOf(path: string, text: string | undefined): Uint8Array {
  if (text?.length !== 2 * INSTANCE_ID_BYTES) throw damaged(path, 0, "an id does not have 16 bytes");
  return new Uint8Array(Buffer.from(text, "hex"));
}

function crcLine(text: string): string {
  return `crc ${chainCrc(Buffer.from(text, "utf8")).toString(16).padStart(8, "0")}\n`;
}

async function readLines(fs: StorageFs, path: string): Promise<string[] | null> {
  const stat = call<FileStat | null>((done) => {
    fs.stat(path, done);
  });
  if ((await reading(path, stat)) === null) return null;
  const text = Buffer.from(await readFile(fs, path)).toString("utf8");
  const end = text.lastIndexOf("crc ");
  const body = text.slice(0, Math.max(0, end));
  if (end < 0 || crcLine(body) !== text.slice(end)) throw damaged(path, 0, "its checksum does not fit");
  return body.split("\n").filter((line) => line !== "");
}

function writeLines(fs: StorageFs, dir: string, name: string, lines: readonly string[]): Promise<void> {
  const body = lines.map((line) => `${line}\n`).join("");
  return writeDurably(fs, dir, joinPath(dir, name), Buffer.from(body + crcLine(body), "utf8"));
}
