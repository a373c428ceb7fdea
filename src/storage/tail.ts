/**
 * Makes the end of a log durable when a directory is opened: cuts off a torn tail and writes again what may not be on
 * the disk.
 *
 * Why the end is written again: after a failed sync some file systems (ext4, XFS) mark the pages clean, although the disk
 * does not have them. A restarted process then reads the new bytes, its sync succeeds without writing anything, and a
 * power loss brings the old bytes back. Only pages that are written again reach the disk. The same bytes at the same place
 * do no harm where the disk has them already.
 *
 * What is written again: from the last record whose flag says that everything before it was synced, to the end of the
 * file with its zeros. That is the last write of the process before, a few MiB, and one segment at most. A segment with a
 * head only may have been renamed in a directory whose sync failed: it is made again under a temporary name and renamed
 * over itself, so that its name is a change of the directory again. docs/adr/0018-the-tail-is-written-again.md
 */
import { writeDurably } from "./data_dir";
import { DataDirError, isNoSpace } from "./errors";
import type { StorageFile, StorageFs } from "./fs";
import { call, run } from "./fs_calls";
import { reading, type RecoveredLog, type TornTail } from "./recovery";
import { createSegment, joinPath, writeZeros } from "./segment";
import type { StorageError } from "./storage";

export interface RepairedTail extends TornTail {
  /** The file with the bytes that were cut off, or null when the disk had no space for it. */
  readonly keptAs: string | null;
}

interface OpenedTail {
  readonly file: StorageFile;
  readonly repaired: RepairedTail | null;
  /** How much was written again, with the zeros after the last record. Unit: bytes. */
  readonly rewrittenBytes: number;
}

/** Saves the bytes of a torn tail to a file. @returns its path, or null when the disk has no space for it */
async function keepTorn(
  fs: StorageFs,
  dir: string,
  torn: TornTail,
  bytes: Uint8Array,
): Promise<string | null> {
  const path = `${torn.file}-${torn.offset}.torn`;
  try {
    await writeDurably(fs, dir, path, bytes);
    return path;
  } catch (error) {
    if (error instanceof DataDirError && isNoSpace(Object.assign(new Error(), { code: error.errno })))
      return null;
    throw error;
  }
}

/** Makes a segment again that has a head only. @returns null when the disk has no space for a second copy */
function remake(fs: StorageFs, dir: string, tail: RecoveredLog["tail"]): Promise<StorageFile | null> {
  return new Promise((resolve, reject) => {
    const done = (error: StorageError | null, segment: { readonly file: StorageFile } | null): void => {
      if (segment !== null) resolve(segment.file);
      else if (error?.reason === "disk-full") resolve(null);
      else reject(new DataDirError("io", error?.file ?? dir, null, error?.message ?? "", error?.errno ?? ""));
    };
    createSegment(fs, dir, tail.head, tail.previousChain, tail.fileBytes, () => undefined, done);
  });
}

/** Writes the unproven records and the zeros after them again, in place, and syncs the file. */
async function rewrite(fs: StorageFs, tail: RecoveredLog["tail"]): Promise<StorageFile> {
  const { path, unproven, unprovenAt, position, fileBytes } = tail;
  const file = await call<StorageFile>((done) => {
    fs.open(path, "write", done);
  });
  try {
    await run((done) => {
      file.write(unproven, unprovenAt, done);
    });
    await run((done) => {
      writeZeros(file, position, fileBytes, done);
    });
    await run((done) => {
      file.sync(done);
    });
  } catch (error) {
    file.close(() => undefined);
    throw error;
  }
  return file;
}

/**
 * Cuts off a torn tail, writes the end of the log again, syncs it, and deletes files of unfinished work.
 *
 * @throws DataDirError "io"
 */
export async function repairTail(fs: StorageFs, dir: string, log: RecoveredLog): Promise<OpenedTail> {
  const { tail } = log;
  let repaired: RepairedTail | null = null;
  if (log.tornTail !== null) {
    const keptAs = await keepTorn(fs, dir, log.tornTail, log.tornBytes ?? new Uint8Array());
    repaired = { ...log.tornTail, keptAs };
  }
  const headOnly = log.segments.at(-1)?.records === 1;
  const remade = headOnly ? await remake(fs, dir, tail) : null;
  const file = remade ?? (await reading(tail.path, rewrite(fs, tail)));
  for (const name of log.leftovers) {
    // A file that cannot be deleted only takes space.
    await run((done) => {
      fs.unlink(joinPath(dir, name), () => {
        done(null);
      });
    });
  }
  await reading(
    dir,
    run((done) => {
      fs.syncDir(dir, done);
    }),
  );
  return { file, repaired, rewrittenBytes: tail.fileBytes - (remade === null ? tail.unprovenAt : 0) };
}
