/**
 * Data directories of members that have a past, written through src/storage without a running member: bootstrap,
 * publish and then as many changes of admin URLs as wanted, each with a request id of its own, decided by the roster as
 * a member would have. So a log of a million entries takes seconds to make.
 *
 * Invariant: what is written is what members write: the same entries on each, committed, in term 1.
 */
import { createHash, randomBytes } from "node:crypto";
import * as path from "node:path";
import { RosterSnapshot } from "../src/generated/muster/storage/v1/snapshot";
import {
  addMemberCommand,
  bootstrapMemberId,
  clusterId as hashClusterId,
  confChange,
  encodeCommand,
  fingerprint,
  publishCommand,
  Roster,
  updateAdminUrlsCommand,
  type RosterCommand,
} from "../src/roster/index";
import { EMPTY_BYTES, EntryType, NO_NODE, type Entry, type Snapshot } from "../src/raft/index";
import { VERSION } from "../src/base/version";
import { createDataDir, createDataDirFromSnapshot } from "../src/storage/data_dir";
import { nodeFs } from "../src/storage/fs";
import type { AppendBatch, Identity, Storage, StorageCallback } from "../src/storage/storage";
import { openStorage } from "../src/storage/wal";
import { freePorts } from "./processes";

const TERM = 1;
/** Entries of one batch when a log is prepared. */
const BATCH_ENTRIES = 1000;

const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

/** One member as it will be started. */
export interface PlannedMember {
  readonly name: string;
  readonly id: bigint;
  readonly adminPort: number;
  readonly peerUrl: string;
  readonly instanceId: Uint8Array;
  /** Keys of the configuration and their values, for the same directory at every start. */
  flags(dataDir: string): Record<string, string>;
}

/** Members n1, n2, ... of a cluster that only exists on disk so far. */
export async function planMembers(size: number, settings: Record<string, string>): Promise<PlannedMember[]> {
  const ports = await freePorts(2 * size);
  const plan = Array.from({ length: size }, (_, i) => {
    const [adminPort = 0, peerPort = 0] = ports.slice(2 * i, 2 * i + 2);
    return { name: `n${i + 1}`, adminPort, peerUrl: `http://127.0.0.1:${peerPort}` };
  });
  const initialCluster = plan.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  return plan.map((member) => ({
    ...member,
    id: bootstrapMemberId(sha256, member.name, member.peerUrl, ""),
    instanceId: randomBytes(16),
    flags: (dataDir) => ({
      name: member.name,
      "admin-url": `http://127.0.0.1:${member.adminPort}`,
      "peer-url": member.peerUrl,
      "initial-cluster": initialCluster,
      "data-dir": dataDir,
      "log-level": "warn",
      ...settings,
    }),
  }));
}

/** The replicated state machine of a cluster, moved on entry by entry. */
export class History {
  readonly clusterId: bigint;
  /** Bootstrap and publish: the first entries of every log. */
  readonly firstEntries: readonly Entry[];
  private roster: Roster;

  constructor(readonly members: readonly PlannedMember[]) {
    const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
    this.clusterId = hashClusterId(
      sha256,
      sorted.map(({ id }) => id),
    );
    this.roster = new Roster({ clusterId: this.clusterId });
    const envelope = { proposalId: 0n, timeMs: 0 };
    const adds = sorted.map(({ id, name, peerUrl }) =>
      addMemberCommand(envelope, { id, name, peerUrl, adminUrls: [] }),
    );
    const publishes = sorted.map(({ id, instanceId, adminPort }) => {
      const adminUrls = [`http://127.0.0.1:${adminPort}`];
      return publishCommand(envelope, { id, instanceId, adminUrls, version: VERSION });
    });
    this.firstEntries = [...adds, ...publishes].map((command) => this.apply(command));
  }

  get index(): number {
    return this.roster.appliedIndex;
  }

  /** As if so many members had been added and removed long ago: the index goes on accordingly. */
  addTombstones(count: number): void {
    const state = RosterSnapshot.decode(this.roster.snapshot());
    const removedAt = (i: number): number => this.index + 2 * (i + 1);
    const tombstones = Array.from({ length: count }, (_, i) => {
      // Spread over all ids, ascending, and never a member's.
      const id = (2n ** 63n / BigInt(count)) * BigInt(i + 1) + 1n;
      return { id, name: `removed-${i}`, revision: removedAt(i), timeMs: 1_700_000_000_000 + i };
    });
    const known = new Set(this.members.map(({ id }) => id));
    state.tombstones = tombstones.filter(({ id }) => !known.has(id));
    state.revision = removedAt(count - 1);
    this.roster = Roster.restore(RosterSnapshot.encode(state).finish(), { appliedIndex: state.revision });
  }

  /** The next entry: the first member's admin URL changes, under a new request id. */
  next(): Entry {
    const n = this.index + 1;
    const adminUrls = [`http://127.${n >> 16}.${(n >> 8) & 255}.${n & 255}:7460`];
    const requestId = `bench-${n}`;
    const fields = { member: { id: 0n, name: "n1" }, adminUrls };
    const write = { requestId, expectedRevision: 0, validateOnly: false, ...fields };
    const print = fingerprint(sha256, "UpdateAdminURL", write);
    const envelope = { proposalId: BigInt(n), timeMs: 1_700_000_000_000, requestId, fingerprint: print };
    return this.apply(updateAdminUrlsCommand(envelope, fields));
  }

  skip(count: number): void {
    for (let i = 0; i < count; i++) this.next();
  }

  snapshot(): Snapshot {
    const confState = {
      voters: this.roster.voters(),
      learners: [],
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    };
    return { meta: { index: this.index, term: TERM, confState }, data: this.roster.snapshot() };
  }

  private apply(command: RosterCommand): Entry {
    const change = confChange(this.roster, command);
    const kind =
      change === null
        ? { type: EntryType.Normal, data: encodeCommand(command), confChange: null }
        : { type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange: change };
    const entry: Entry = { term: TERM, index: this.index + 1, ...kind };
    const applied = this.roster.apply(entry);
    if (applied.kind !== "command" || !applied.decision.accepted)
      throw new Error(`entry ${entry.index} was refused`);
    return entry;
  }
}

/** Makes a directory whose log holds the first entries only. */
export async function writeFirstEntries(
  history: History,
  member: PlannedMember,
  dataDir: string,
): Promise<void> {
  const entries = history.firstEntries;
  const hardState = { term: TERM, vote: NO_NODE, commit: entries.length };
  await createDataDir(nodeFs, dataDir, identityOf(history, member), { entries, hardState });
}

/** Makes a directory whose log begins after the snapshot, and opens it. */
export async function openAfter(
  history: History,
  member: PlannedMember,
  dataDir: string,
  snapshot: Snapshot,
): Promise<Storage> {
  await createDataDirFromSnapshot(nodeFs, dataDir, identityOf(history, member), snapshot);
  return (await openStorage(nodeFs, dataDir)).storage;
}

/** Writes the next `count` entries of the history to each log, committed. */
export async function appendNext(
  history: History,
  storages: readonly Storage[],
  count: number,
): Promise<void> {
  for (let left = count; left > 0; left -= BATCH_ENTRIES) {
    const entries = Array.from({ length: Math.min(left, BATCH_ENTRIES) }, () => history.next());
    const hardState = { term: TERM, vote: NO_NODE, commit: history.index };
    const batch: AppendBatch = { hardState, entries, snapshot: null, mustSync: true };
    await Promise.all(storages.map((storage) => append(storage, batch)));
  }
}

export function append(storage: Storage, batch: AppendBatch): Promise<void> {
  return settled((done) => {
    storage.append(batch, done);
  });
}

export function saveSnapshot(storage: Storage, snapshot: Snapshot, keepEntries: number): Promise<void> {
  return settled((done) => {
    storage.saveSnapshot(snapshot, keepEntries, done);
  });
}

export function close(storage: Storage): Promise<void> {
  return settled((done) => {
    storage.close(done);
  });
}

function settled(start: (done: StorageCallback) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

function identityOf({ clusterId }: History, { id, instanceId }: PlannedMember): Identity {
  return { clusterId, memberId: id, instanceId };
}

/** The command line of a member's process, from `node` on. */
export function serverArgs(flags: Record<string, string>): string[] {
  const main = path.resolve(__dirname, "../dist/cli/main.js");
  return [main, "server", ...Object.entries(flags).flatMap(([key, value]) => [`--${key}`, value])];
}

/** As serverArgs, for a member that never takes a snapshot by itself: no setting of the command says so. */
export function serverArgsWithoutSnapshots(flags: Record<string, string>): string[] {
  const dist = path.resolve(__dirname, "../dist/server");
  const code = `
    const { startServer } = require(${JSON.stringify(path.join(dist, "server.js"))});
    const { loadConfig } = require(${JSON.stringify(path.join(dist, "config.js"))});
    const snapshots = { everyEntries: Infinity, everyBytes: Infinity, keepEntries: 0 };
    const config = loadConfig({ flags: JSON.parse(process.argv[1]), env: {} });
    startServer(config, { snapshots }).then(({ exited }) => exited.then(process.exit));`;
  return ["-e", code, JSON.stringify(flags)];
}
