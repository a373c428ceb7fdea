/** Real data directories and saved snapshots for tests of offline commands, written by storage and the roster. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  addMemberCommand,
  encodeCommand,
  fingerprint,
  removeMemberCommand,
  Roster,
  updateAdminUrlsCommand,
} from "../../../src/roster/index";
import type { RosterCommand } from "../../../src/roster/index";
import { ConfChangeTransition, ConfChangeType, EMPTY_BYTES, EntryType } from "../../../src/raft/index";
import type { ConfState, Entry, Snapshot } from "../../../src/raft/index";
import { sha256 } from "../../../src/base/random";
import { encodeSavedSnapshot } from "../../../src/backup/saved_snapshot";
import type { SavedSnapshot } from "../../../src/backup/saved_snapshot";
import { createDataDir } from "../../../src/storage/data_dir";
import { nodeFs } from "../../../src/storage/node_fs";
import type { Storage, StorageCallback } from "../../../src/storage/storage";
import { openStorage } from "../../../src/storage/wal";

export const CLUSTER_ID = 0xabcdn;
export const MEMBER_ID = 0x11n;
const OTHER_ID = 0x22n;
const GONE_ID = 0x33n;
export const IDENTITY = {
  clusterId: CLUSTER_ID,
  memberId: MEMBER_ID,
  instanceId: new Uint8Array(16).fill(7),
};
const CONF_STATE: ConfState = {
  voters: [MEMBER_ID, OTHER_ID],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

/** A temporary folder of one test, removed by `remove`. */
export class Folder {
  readonly path = mkdtempSync(join(tmpdir(), "muster-cli-"));

  at(name: string): string {
    return join(this.path, name);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Bytes and modification time of every file under `dir`, to check that a command changed nothing. */
export function stateOf(dir: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) found.set(path, `${statSync(path).mtimeMs} ${readFileSync(path).toString("base64")}`);
  }
  return found;
}

function confEntry(index: number, type: ConfChangeType, nodeId: bigint, command: RosterCommand): Entry {
  const changes = [{ type, nodeId }];
  const confChange = { transition: ConfChangeTransition.Auto, changes, context: encodeCommand(command) };
  return { term: 1, index, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange };
}

function add(index: number, id: bigint, name: string): Entry {
  const member = { id, name, peerUrl: `http://127.0.0.1:${7000 + index}`, adminUrls: [] };
  return confEntry(
    index,
    ConfChangeType.AddVoter,
    id,
    addMemberCommand({ proposalId: 0n, timeMs: 0 }, member),
  );
}

/** The entry of a client's write with the request id r-INDEX. */
export function update(index: number, term = 2): Entry {
  const fields = {
    member: { id: MEMBER_ID, name: "" },
    adminUrls: [`http://127.0.0.1:${8000 + (index % 1000)}`],
    requestId: `r-${index}`,
    expectedRevision: 0,
    validateOnly: false,
    note: "",
  };
  const envelope = {
    proposalId: BigInt(index),
    timeMs: 1000 + index,
    requestId: fields.requestId,
    fingerprint: fingerprint(sha256, "UpdateAdminURL", fields),
  };
  const data = encodeCommand(updateAdminUrlsCommand(envelope, fields));
  return { term, index, type: EntryType.Normal, data, confChange: null };
}

/** Entries of a log: members n1, n2 and one that is removed, a leader's empty entry, then clients' writes. */
export function sampleEntries(last: number): Entry[] {
  const remove = removeMemberCommand(
    { proposalId: 4n, timeMs: 1234 },
    { member: { id: GONE_ID, name: "" }, peerUrl: "" },
  );
  const entries = [
    add(1, MEMBER_ID, "n1"),
    add(2, OTHER_ID, "n2"),
    add(3, GONE_ID, "gone"),
    confEntry(4, ConfChangeType.Remove, GONE_ID, remove),
    { term: 2, index: 5, type: EntryType.Normal, data: EMPTY_BYTES, confChange: null },
  ];
  for (let index = 6; index <= last; index++) entries.push(update(index));
  return entries;
}

export function rosterAfter(entries: readonly Entry[]): Roster {
  const roster = new Roster({ clusterId: CLUSTER_ID });
  for (const entry of entries) roster.apply(entry);
  return roster;
}

/** The snapshot that a member would save after `entries`. */
export function snapshotAfter(entries: readonly Entry[]): Snapshot {
  const last = entries.at(-1);
  if (last === undefined) throw new Error("no entries");
  const meta = { index: last.index, term: last.term, confState: CONF_STATE };
  return { meta, data: rosterAfter(entries).snapshot() };
}

/** The file that `muster snapshot save` would write after `last` entries. */
export function savedSample(last = 20, changes: Partial<SavedSnapshot> = {}): Buffer {
  return encodeSavedSnapshot({
    clusterId: CLUSTER_ID,
    memberId: MEMBER_ID,
    timeMs: Date.UTC(2026, 0, 2, 3, 4, 5),
    version: "9.9.9",
    snapshot: snapshotAfter(sampleEntries(last)),
    ...changes,
  });
}

const done = (start: (callback: StorageCallback) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });

/** Sizes so small that a short log has several segments. */
const SMALL = { segmentBytes: 8192, growBytes: 4096, reserveBytes: 1024, hardStateReserveBytes: 512 };

export interface DataDirPlan {
  readonly last: number;
  /** Indexes at which to save snapshots, ascending. @default none */
  readonly snapshots?: readonly number[];
  /** Entries kept before a snapshot. Lower it so that a snapshot deletes segments. @default 1000 */
  readonly keep?: number;
}

/** Creates a member's data directory with sample entries, written and closed by the storage. */
export async function makeDataDir(
  dir: string,
  { last, snapshots = [], keep = 1000 }: DataDirPlan,
): Promise<void> {
  await createDataDir(nodeFs, dir, IDENTITY, undefined, SMALL);
  const { storage } = await openStorage(nodeFs, dir, SMALL);
  const entries = sampleEntries(last);
  /** Appends entries in batches that fit into a segment. */
  const write = async (from: number, to: number): Promise<void> => {
    for (let at = from; at < to; at += 10) {
      const end = Math.min(to, at + 10);
      await append(storage, entries.slice(at, end), end);
    }
  };
  let at = 0;
  for (const index of [...snapshots, last]) {
    if (index > at) await write(at, index);
    at = index;
    if (!snapshots.includes(index)) continue;
    await done((callback) => {
      storage.saveSnapshot(snapshotAfter(entries.slice(0, index)), keep, callback);
    });
  }
  await done((callback) => {
    storage.close(callback);
  });
}

function append(storage: Storage, entries: readonly Entry[], commit: number): Promise<void> {
  const hardState = { term: 2, vote: MEMBER_ID, commit };
  return done((callback) => {
    storage.append({ hardState, entries, snapshot: null, mustSync: true }, callback);
  });
}
