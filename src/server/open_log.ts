/**
 * Opens a member's log at its start and says in the log what an operator should know of it: repairs, a lock that holds less
 * than it should, a lack of file descriptors, and a heap that is too small for the log.
 */
import { getHeapStatistics } from "node:v8";
import type { Log } from "../base/log";
import type { StorageFs } from "../storage/fs";
import type { WalOptions } from "../storage/options";
import type { Storage } from "../storage/storage";
import { openStorage } from "../storage/wal";
import type { OpenOptions, OpenReport } from "../storage/wal";
import { memberDir } from "../storage/data_dir";
import { RAISE_LIMIT } from "../storage/errors";
import { call } from "../storage/fs_calls";
import type { FileStat } from "../storage/fs";
import { StartRefusedError } from "./errors";

interface OpenLogDeps {
  readonly fs: StorageFs;
  readonly wal: WalOptions;
  readonly log: Log;
}

/**
 * How much heap reading a directory takes, at most, for each byte of its files: the bytes of one segment, the decoded entries,
 * and the state made of them. Measured with entries of 20 bytes: 3.6; entries of 100 bytes take 1.5.
 */
const HEAP_PER_BYTE = 4;
/** What a member takes beside its log. */
const HEAP_BASE_BYTES = 48 * 1024 * 1024;

/**
 * @param heapLimitBytes the largest heap of this process; tests pass others
 * @throws StartRefusedError when the log can't fit into the heap, DataDirError as openStorage
 */
export async function openLog(
  dataDir: string,
  { fs, wal, log }: OpenLogDeps,
  heapLimitBytes = getHeapStatistics().heap_size_limit,
): Promise<Storage> {
  checkHeap(dataDir, await bytesOf(fs, dataDir), heapLimitBytes, log);
  const { storage, report } = await openStorage(fs, dataDir, { ...wal, ...reporters(log) });
  reportOpening(dataDir, report, log);
  return storage;
}

function reporters(log: Log): Pick<OpenOptions, "onTornTail" | "onDamagedSnapshot" | "onShortage"> {
  return {
    onTornTail: (torn) => {
      log.warn({ kept_as: torn.keptAs ?? "" }, "cut a torn tail off the log; nothing in it was acknowledged");
    },
    onDamagedSnapshot: ({ file, offset, message }) => {
      const text =
        "a snapshot is damaged: an older one and the log give the same state, nothing is lost, and the member starts. Check " +
        "the disk; a second damage could cost this member its data";
      log.error({ file, offset: offset ?? -1, problem: message }, text);
    },
    onShortage: ({ over, file, errno }) => {
      if (over) {
        log.info({ file, errno }, "there is a file descriptor for the log again");
        return;
      }
      log.error(
        { file, errno },
        `no file descriptor left for the log: it waits and tries again. ${RAISE_LIMIT}`,
      );
    },
  };
}

function reportOpening(dataDir: string, report: OpenReport, log: Log): void {
  const { lockWarning, entries, lastIndex, segments, rewrittenBytes } = report;
  if (lockWarning !== null) log.warn({ data_dir: dataDir }, lockWarning);
  // The end of the log is written again at every start, see src/storage/tail.ts.
  const fields = { index: lastIndex, entries, segments, rewritten_bytes: rewrittenBytes };
  log.info(fields, "opened the log");
}

/** Size of all files of the member. 0 when there are none: opening says what is wrong. */
async function bytesOf(fs: StorageFs, dataDir: string): Promise<number> {
  const dir = memberDir(dataDir);
  let sum = 0;
  try {
    const names = await call<readonly string[]>((done) => {
      fs.readdir(dir, done);
    });
    for (const name of names) {
      const stat = await call<FileStat | null>((done) => {
        fs.stat(`${dir}/${name}`, done);
      });
      sum += stat?.sizeBytes ?? 0;
    }
  } catch {
    return 0;
  }
  return sum;
}

/**
 * The log and the state are read into memory; a heap that is too small ends the process without a word of ours. Refused when even
 * the bytes alone can't fit, warned of when the decoded entries may not.
 *
 * @throws StartRefusedError
 */
function checkHeap(dataDir: string, bytes: number, heapLimitBytes: number, log: Log): void {
  const mib = (size: number): number => Math.ceil(size / (1024 * 1024));
  const wanted = HEAP_BASE_BYTES + HEAP_PER_BYTE * bytes;
  const advice = `start it with NODE_OPTIONS=--max-old-space-size=${String(mib(wanted))} (MiB), on a machine with that much memory`;
  if (bytes > heapLimitBytes) {
    throw new StartRefusedError(
      `data-dir ${dataDir} holds ${String(mib(bytes))} MiB, more than the heap of this process may take ` +
        `(${String(mib(heapLimitBytes))} MiB): ${advice}`,
    );
  }
  if (wanted > heapLimitBytes) {
    const fields = { data_dir: dataDir, size_mib: mib(bytes), heap_limit_mib: mib(heapLimitBytes) };
    log.warn(
      fields,
      `the heap may be too small for the log, and the process could end while it reads it: ${advice}`,
    );
  }
}
