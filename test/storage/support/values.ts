/** Values and helpers that the storage tests share. */
import {
  EntryType,
  type ConfState,
  type Entry,
  type HardState,
  type Snapshot,
} from "../../../src/raft/index";
import type { FsDone, StorageFs } from "../../../src/storage/fs";
import type { WalOptions } from "../../../src/storage/options";
import {
  type StorageError,
  type AppendBatch,
  type Identity,
  type Storage,
} from "../../../src/storage/storage";
import { ManualClock } from "../../base/support/manual_clock";
import { openStorage, type OpenOptions, type OpenReport } from "../../../src/storage/wal";

export const IDENTITY: Identity = {
  clusterId: 0xcafe_f00d_dead_beefn,
  memberId: 0x1234_5678_9abc_def0n,
  instanceId: Uint8Array.from({ length: 16 }, (_, i) => i * 7 + 1),
};

/** Small enough that a few records fill a step, and a few dozen a segment. */
export const SMALL: WalOptions = {
  segmentBytes: 16 * 1024,
  growBytes: 4096,
  reserveBytes: 2048,
  hardStateReserveBytes: 512,
  groupBytes: 8192,
};

export function entry(
  index: number,
  term: number,
  data: string | Uint8Array = `entry ${index}/${term}`,
): Entry {
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  return { index, term, type: EntryType.Normal, data: bytes, confChange: null };
}

export function entries(from: number, to: number, term: number): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term));
}

export function hardState(term: number, vote: bigint, commit: number): HardState {
  return { term, vote, commit };
}

export const CONF: ConfState = {
  voters: [1n, 2n, 3n],
  learners: [4n],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

export function snapshot(index: number, term: number, data = `state at ${index}`): Snapshot {
  return { meta: { index, term, confState: CONF }, data: Buffer.from(data) };
}

export function batch(parts: Partial<AppendBatch>): AppendBatch {
  return { hardState: null, entries: [], snapshot: null, mustSync: true, ...parts };
}

/** A promise for one storage callback; rejects with its error. */
export function settled(start: (done: (error: StorageError | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

export function append(storage: Storage, parts: Partial<AppendBatch>): Promise<void> {
  return settled((done) => {
    storage.append(batch(parts), done);
  });
}

export function save(storage: Storage, value: Snapshot, keepEntries: number): Promise<void> {
  return settled((done) => {
    storage.saveSnapshot(value, keepEntries, done);
  });
}

export function close(storage: Storage): Promise<void> {
  return settled((done) => {
    storage.close(done);
  });
}

export function fsRun(start: (done: FsDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

export function open(
  fs: StorageFs,
  dir: string,
  options: OpenOptions = {},
): Promise<{ storage: Storage; report: OpenReport }> {
  // Time stands still unless a test passes a clock, so that no timer of a log that waits for space keeps jest running.
  return openStorage(fs, dir, { ...SMALL, clock: new ManualClock(), ...options });
}

/** All entries of a log. */
export function allEntries(storage: Storage): readonly Entry[] {
  const found = storage.entries(storage.firstIndex(), storage.lastIndex() + 1, Infinity);
  if (typeof found === "string") throw new Error(`the log shows nothing: ${found}`);
  return found;
}

/** "index/term data" of each entry: short to compare, and independent of the kind of byte array. */
export function describeEntries(list: readonly Entry[]): string[] {
  return list.map((e) => `${e.index}/${e.term} ${Buffer.from(e.data).toString("utf8")}`);
}
