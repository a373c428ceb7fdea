/**
 * Reads a member's log and snapshots, without changing anything: the newest intact snapshot that has a mark in the log,
 * then the log. Used by opening and by the offline reader.
 *
 * Every prefix of the written records is a consistent log: a batch is written as term and vote, then the snapshot mark,
 * then entries, then the commit index. So a torn tail can be cut off after any record, and every inconsistency is
 * damage.
 */
import { EMPTY_CONF_STATE, type ConfState, type Entry, type HardState, type Snapshot } from "../raft/index";
import { CodecError, FORMAT_VERSION, type SegmentHead, type SnapshotMark } from "./entry_codec";
import { votersAfter, withAdvice, type KnownVoters } from "./advice";
import { damaged, DataDirError, gap, ioError, newerFormat } from "./errors";
import type { FsError, StorageFs } from "./fs";
import { call } from "./fs_calls";
import { RecordReader, RecordType } from "./record";
import { LogReplay } from "./replay";
import { decodeHeadPayload, joinPath, segmentName, segmentSequence } from "./segment";
import { decodeSnapshotFile, parseSnapshotName, snapshotName, type SnapshotFile } from "./snapshot_store";
import type { SegmentInfo } from "./segment_list";
import type { Identity } from "./storage";

/** A write at the end of the log that reached the disk only in part. It was not acknowledged. */
export interface TornTail {
  readonly file: string;
  readonly offset: number;
  /** Number of bytes from `offset` to the last nonzero byte. */
  readonly bytes: number;
  /** What is wrong with the first bad record. */
  readonly what: string;
}

export interface SegmentSummary {
  readonly file: string;
  readonly sequence: number;
  /** Index of the entry that was due next when the segment was created. Its first entry has at most this index. */
  readonly nextIndex: number;
  readonly records: number;
  /** Size of the valid records. */
  readonly usedBytes: number;
  readonly fileBytes: number;
}

/** A snapshot file that has a mark in the log but cannot be used. An older snapshot and the log replace it. */
export interface DamagedSnapshot {
  readonly file: string;
  readonly offset: number | null;
  readonly message: string;
}

export interface RecoveredLog {
  readonly identity: Identity;
  readonly hardState: HardState;
  readonly confState: ConfState;
  readonly snapshot: Snapshot | null;
  /** Index and term of the entry before the first one. */
  readonly base: { readonly index: number; readonly term: number };
  readonly entries: readonly Entry[];
  /** Size of the records after the newest snapshot mark. */
  readonly bytesSinceSnapshot: number;
  readonly segments: readonly SegmentSummary[];
  readonly segmentInfos: readonly SegmentInfo[];
  /** The end of the log, where the next record is written. */
  readonly tail: {
    readonly path: string;
    readonly sequence: number;
    readonly position: number;
    readonly fileBytes: number;
    readonly chain: number;
    readonly salt: number;
    /** The hard state of the last record, not raised to match snapshots. */
    readonly hardState: HardState;
    /** The head of the segment and the CRC of the record before it, for a segment that is made again. */
    readonly head: SegmentHead;
    readonly previousChain: number;
    /** Where the records begin that no later record shows to be on the disk. */
    readonly unprovenAt: number;
    /** The bytes of the file from there on to `position`. */
    readonly unproven: Uint8Array;
  };
  readonly tornTail: TornTail | null;
  /** The bytes of the torn tail, to be saved to a file. */
  readonly tornBytes: Uint8Array | null;
  /** Intact snapshots that have a mark in the log. */
  readonly snapshots: readonly SnapshotFile[];
  readonly damagedSnapshots: readonly DamagedSnapshot[];
  /** Names of files of unfinished work, to be deleted. */
  readonly leftovers: readonly string[];
}

/** Turns errors of the file system into DataDirErrors that name the file. */
export async function reading<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof DataDirError) throw error;
    throw ioError(path, error as FsError);
  }
}

export function readFile(fs: StorageFs, path: string): Promise<Uint8Array> {
  return reading(
    path,
    call<Uint8Array>((done) => {
      fs.readFile(path, done);
    }),
  );
}

export function readNames(fs: StorageFs, dir: string): Promise<readonly string[]> {
  return reading(
    dir,
    call<readonly string[]>((done) => {
      fs.readdir(dir, done);
    }),
  );
}

interface Listing {
  readonly sequences: readonly number[];
  readonly snapshots: readonly SnapshotFile[];
  readonly leftovers: readonly string[];
}

async function list(fs: StorageFs, dir: string): Promise<Listing> {
  const sequences: number[] = [];
  const snapshots: SnapshotFile[] = [];
  const leftovers: string[] = [];
  for (const name of await readNames(fs, dir)) {
    const sequence = segmentSequence(name);
    const snapshot = parseSnapshotName(name);
    if (sequence !== null) sequences.push(sequence);
    else if (snapshot !== null) snapshots.push(snapshot);
    else if (name.endsWith(".tmp")) leftovers.push(name);
  }
  sequences.sort((a, b) => a - b);
  snapshots.sort((a, b) => b.index - a.index || b.term - a.term);
  return { sequences, snapshots, leftovers };
}

interface ReadSegments {
  readonly identity: Identity;
  readonly summaries: SegmentSummary[];
  readonly tail: RecoveredLog["tail"];
  readonly tornTail: TornTail | null;
  readonly tornBytes: Uint8Array | null;
}

/** @throws DataDirError unless the head is intact and continues the segment before */
function readHead(
  path: string,
  reader: RecordReader,
  sequence: number,
  previous: { readonly identity: Identity; readonly chain: number } | null,
): { readonly chain: number; readonly head: SegmentHead } {
  const read = reader.next();
  if (read.kind !== "record") {
    throw damaged(path, 0, read.kind === "end" ? "it is empty" : `its head: ${read.what}`);
  }
  if (read.type !== RecordType.SegmentHead) throw damaged(path, 0, "it does not begin with a head");
  const { chain, head } = decodeHeadPayload(read.payload);
  if (head.identity.formatVersion > FORMAT_VERSION) throw newerFormat(path, head.identity.formatVersion);
  if (head.sequence !== sequence) throw damaged(path, 0, `its head has number ${head.sequence}`);
  const { clusterId, memberId, instanceId } = head.identity;
  const identity: Identity = { clusterId, memberId, instanceId };
  if (previous !== null) {
    if (!sameIdentity(identity, previous.identity))
      throw damaged(path, 0, "its head names another member's log");
    if (chain !== previous.chain) throw damaged(path, 0, "it does not follow on from the segment before it");
  }
  return { chain, head: { identity, sequence, nextIndex: head.nextIndex, hardState: head.hardState } };
}

function sameIdentity(a: Identity, b: Identity): boolean {
  return (
    a.clusterId === b.clusterId &&
    a.memberId === b.memberId &&
    Buffer.from(a.instanceId).equals(Buffer.from(b.instanceId))
  );
}

async function readSegments(
  fs: StorageFs,
  dir: string,
  sequences: readonly number[],
  replay: LogReplay,
  onIdentity: (identity: Identity) => void,
): Promise<ReadSegments> {
  const summaries: SegmentSummary[] = [];
  let previous: { identity: Identity; chain: number } | null = null;
  let result: ReadSegments | null = null;
  for (const [i, sequence] of sequences.entries()) {
    const path = joinPath(dir, segmentName(sequence));
    const before = sequences[i - 1];
    if (before !== undefined && sequence !== before + 1) {
      throw gap(joinPath(dir, segmentName(before + 1)), null, "this segment is missing");
    }
    const bytes = await readFile(fs, path);
    const reader = new RecordReader(bytes);
    try {
      const { chain: previousChain, head } = readHead(path, reader, sequence, previous);
      onIdentity(head.identity);
      replay.beginSegment(path, sequence, head.nextIndex, head.hardState);
      const { records, torn } = readRecords(path, reader, replay, i === sequences.length - 1);
      const usedBytes = reader.position;
      const { nextIndex } = head;
      summaries.push({
        file: path,
        sequence,
        nextIndex,
        records: records + 1,
        usedBytes,
        fileBytes: bytes.length,
      });
      previous = { identity: head.identity, chain: reader.chain };
      result = {
        identity: head.identity,
        summaries,
        tail: {
          path,
          sequence,
          position: reader.position,
          fileBytes: bytes.length,
          chain: reader.chain,
          salt: reader.headerSalt,
          hardState: replay.writtenHardState,
          head,
          previousChain,
          unprovenAt: reader.syncedUpTo,
          unproven: bytes.subarray(reader.syncedUpTo, reader.position),
        },
        tornTail:
          torn === null ? null : { file: path, offset: torn.at, bytes: torn.end - torn.at, what: torn.what },
        tornBytes: torn === null ? null : bytes.slice(torn.at, torn.end),
      };
    } catch (error) {
      if (error instanceof CodecError) throw damaged(path, reader.position, error.message);
      throw error;
    }
  }
  if (result === null) throw gap(dir, null, "there is no segment of the log");
  return result;
}

interface TornRecord {
  readonly at: number;
  readonly end: number;
  readonly what: string;
}

function readRecords(
  path: string,
  reader: RecordReader,
  replay: LogReplay,
  last: boolean,
): { readonly records: number; readonly torn: TornRecord | null } {
  for (let records = 0; ; records++) {
    const read = reader.next();
    if (read.kind === "record") replay.record(path, read);
    else if (read.kind === "end") return { records, torn: null };
    else if (read.kind === "damage") throw damaged(path, read.at, read.what);
    // A segment is synced to its end before the next one is created: no write to it can be lost.
    else if (!last) throw damaged(path, read.at, `${read.what}, and a later segment follows`);
    else return { records, torn: read };
  }
}

interface ChosenSnapshot {
  readonly snapshot: Snapshot | null;
  readonly whole: readonly SnapshotFile[];
  readonly damagedSnapshots: readonly DamagedSnapshot[];
  readonly orphans: readonly string[];
}

/** Verifies every snapshot that has a mark in the log, and chooses the newest one that the log continues. */
async function chooseSnapshot(
  fs: StorageFs,
  dir: string,
  files: readonly SnapshotFile[],
  identity: Identity,
  replay: LogReplay,
): Promise<ChosenSnapshot> {
  const mark: SnapshotMark | null = replay.newestMark;
  const whole: SnapshotFile[] = [];
  const orphans: string[] = [];
  const unusable: DataDirError[] = [];
  let snapshot: Snapshot | null = null;
  for (const file of files) {
    // The file is complete, but its mark is not in the log: the snapshot was never acknowledged.
    if (mark === null || file.index > mark.index) {
      orphans.push(file.name);
      continue;
    }
    const path = joinPath(dir, file.name);
    const decoded = decodeSnapshotFile(path, await readFile(fs, path));
    if (decoded instanceof DataDirError) {
      if (decoded.reason !== "damage") throw decoded;
      unusable.push(decoded);
    } else if (!sameIdentity(decoded.identity, identity)) {
      unusable.push(damaged(path, 0, "it belongs to another member"));
    } else if (decoded.snapshot.meta.index !== file.index || decoded.snapshot.meta.term !== file.term) {
      unusable.push(damaged(path, 0, "its head does not fit its name"));
    } else {
      whole.push(file);
      if (snapshot === null && replay.follows(decoded.snapshot.meta)) snapshot = decoded.snapshot;
    }
  }
  if (snapshot === null && !replay.startsAtBeginning()) throw missingSnapshot(dir, mark, unusable, replay);
  const damagedSnapshots = unusable.map((e) => ({ file: e.file, offset: e.offset, message: e.message }));
  if (mark !== null && !files.some((f) => f.index === mark.index)) {
    const file = joinPath(dir, snapshotName(mark.index, mark.term));
    damagedSnapshots.unshift({ file, offset: null, message: `${file} is missing` });
  }
  return { snapshot, whole, damagedSnapshots, orphans };
}

function missingSnapshot(
  dir: string,
  mark: SnapshotMark | null,
  unusable: readonly DataDirError[],
  replay: LogReplay,
): DataDirError {
  const [worst] = unusable;
  if (worst !== undefined) return worst;
  const first = `the log begins at index ${replay.firstIndex()}`;
  if (mark === null) return gap(dir, null, `${first} and there is no snapshot before it`);
  const file = joinPath(dir, snapshotName(mark.index, mark.term));
  return gap(file, null, `${first} and this snapshot is missing or does not fit it`);
}

/** What can still be read when the log can't: the newest readable snapshot's voters and the changes after it. */
async function readableVoters(
  fs: StorageFs,
  dir: string,
  files: readonly SnapshotFile[],
  replay: LogReplay,
  memberId: bigint | null,
): Promise<KnownVoters | null> {
  const { entries } = replay.logAfter(null);
  for (const file of files) {
    const path = joinPath(dir, file.name);
    const bytes = await readFile(fs, path).catch(() => null);
    const decoded = bytes === null ? null : decodeSnapshotFile(path, bytes);
    if (decoded === null || decoded instanceof DataDirError) continue;
    const { confState, index } = decoded.snapshot.meta;
    const later = entries.filter((entry) => entry.index > index);
    return { voters: votersAfter(confState.voters, later), memberId: decoded.identity.memberId };
  }
  // Before the first commit index some of the first members may be missing.
  const begun = memberId !== null && replay.writtenHardState.commit > 0;
  return begun ? { voters: votersAfter([], entries), memberId } : null;
}

/**
 * @param dir the directory with segments and snapshots
 * @throws DataDirError
 */
export async function readLog(fs: StorageFs, dir: string): Promise<RecoveredLog> {
  const listing = await list(fs, dir);
  const replay = new LogReplay();
  let memberId: bigint | null = null;
  try {
    return await readListed(fs, dir, listing, replay, (identity) => {
      memberId = identity.memberId;
    });
  } catch (error) {
    throw withAdvice(error, await readableVoters(fs, dir, listing.snapshots, replay, memberId));
  }
}

async function readListed(
  fs: StorageFs,
  dir: string,
  listing: Listing,
  replay: LogReplay,
  onIdentity: (identity: Identity) => void,
): Promise<RecoveredLog> {
  const read = await readSegments(fs, dir, listing.sequences, replay, onIdentity);
  const { identity } = read;
  const chosen = await chooseSnapshot(fs, dir, listing.snapshots, identity, replay);
  const { base, entries } = replay.logAfter(chosen.snapshot);
  return {
    identity,
    hardState: replay.finalHardState(chosen.snapshot),
    confState: chosen.snapshot?.meta.confState ?? EMPTY_CONF_STATE,
    snapshot: chosen.snapshot,
    base,
    entries,
    bytesSinceSnapshot: replay.bytesSinceMark,
    segments: read.summaries,
    segmentInfos: replay.segments,
    tail: read.tail,
    tornTail: read.tornTail,
    tornBytes: read.tornBytes,
    snapshots: chosen.whole,
    damagedSnapshots: chosen.damagedSnapshots,
    leftovers: [...listing.leftovers, ...chosen.orphans],
  };
}
