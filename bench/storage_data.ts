/**
 * Writes data directories with many entries through src/storage, without running members, so that a log of a million
 * entries takes seconds. The entries are bootstrap, publish, and then changes of admin URLs, each with its own request
 * id and applied to a roster as in a member.
 *
 * Invariant: the directories are as members write them: the same entries on each, committed, in term 1.
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
import { nodeFs } from "../src/storage/node_fs";
import type { AppendBatch, Identity, Storage, StorageCallback } from "../src/storage/storage";
import { openStorage } from "../src/storage/wal";
import { freePorts } from "./processes";

const TERM = 1;
/** Entries per batch when a log is written. */
const BATCH_ENTRIES = 1000;

const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

/** One member that is to be started later. */
export interface PlannedMember {
  readonly name: string;
  readonly id: bigint;
  readonly adminPort: number;
  readonly peerUrl: string;
  readonly instanceId: Uint8Array;
  /** The configuration by key, with this data directory. */
  flags(dataDir: string): Record<string, string>;
}

/** Plans members n1, n2, ... of a new cluster; starts nothing. */
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

/** The roster of a cluster, advanced entry by entry. */
export class History {
  readonly clusterId: bigint;
  /** The entries of bootstrap and publish, with which every log begins. */
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

  /** Adds tombstones, and advances the index as if that many members had been added and removed. */
  addTombstones(count: number): void {
    const state = RosterSnapshot.decode(this.roster.snapshot());
    const removedAt = (i: number): number => this.index + 2 * (i + 1);
    const tombstones = Array.from({ length: count }, (_, i) => {
      // Ascending, spread over the whole range, and different from every member's id.
      const id = (2n ** 63n / BigInt(count)) * BigInt(i + 1) + 1n;
      return { id, name: `removed-${i}`, revision: removedAt(i), timeMs: 1_700_000_000_000 + i };
    });
    const known = new Set(this.members.map(({ id }) => id));
    state.tombstones = tombstones.filter(({ id }) => !known.has(id));
    state.revision = removedAt(count - 1);
    this.roster = Roster.restore(RosterSnapshot.encode(state).finish(), { appliedIndex: state.revision });
  }

  /** The next entry: changes the first member's admin URL, with a new request id. */
  next(): Entry {
    const n = this.index + 1;
    const adminUrls = [`http://127.${n >> 16}.${(n >> 8) & 255}.${n & 255}:7460`];
    const requestId = `bench-${n}`;
    const fields = { member: { id: 0n, name: "n1" }, adminUrls };
    const write = { requestId, expectedRevision: 0, validateOnly: false, note: "", ...fields };
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

/** Creates a data directory whose log has the first entries only. */
export async function writeFirstEntries(
  history: History,
  member: PlannedMember,
  dataDir: string,
): Promise<void> {
  const entries = history.firstEntries;
  const hardState = { term: TERM, vote: NO_NODE, commit: entries.length };
  await createDataDir(nodeFs, dataDir, identityOf(history, member), { entries, hardState });
}

/** Creates a data directory whose log begins after the snapshot, and opens it. */
export async function openAfter(
  history: History,
  member: PlannedMember,
  dataDir: string,
  snapshot: Snapshot,
): Promise<Storage> {
  await createDataDirFromSnapshot(nodeFs, dataDir, identityOf(history, member), snapshot);
  return (await openStorage(nodeFs, dataDir)).storage;
}

/** Appends the next `count` entries of the history to each log, as committed. */
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

/** The arguments of `node` for a member's process. */
export function serverArgs(flags: Record<string, string>): string[] {
  const main = path.resolve(__dirname, "../dist/cli/main.js");
  return [main, "server", ...Object.entries(flags).flatMap(([key, value]) => [`--${key}`, value])];
}

/** As serverArgs, for a member that takes no snapshots, which the command has no option for. */
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
