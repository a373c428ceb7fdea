/**
 * The work of `muster wal` and of `muster snapshot inspect|restore`: reads data directories and snapshot files, and
 * makes data directories from them, without a running member. An entry point of the process: it depends on storage and
 * on parts of the server.
 */
import { readFile } from "node:fs/promises";
import type { RosterSnapshot } from "../generated/muster/storage/v1/snapshot";
import { RosterSnapshot as RosterSnapshotMessage } from "../generated/muster/storage/v1/snapshot";
import { checkFirstStart, ConfigError, parseInitialCluster } from "../server/config";
import type { InitialMember } from "../server/config";
import { checkRoster, summarise } from "../backup/log_report";
import { createRestoredDataDir, restoredCluster } from "../backup/restore";
import { decodeSavedSnapshot } from "../backup/saved_snapshot";
import type { ReadSnapshot } from "../backup/saved_snapshot";
import { readDataDirState } from "../storage/data_dir";
import { nodeFs } from "../storage/node_fs";
import { readLogOffline } from "../storage/offline";
import type { OfflineLog } from "../storage/offline";
import { UsageError } from "./io";
import type {
  LogReport,
  OfflineCommands,
  PlaceReport,
  RestoreReport,
  RestoreRequest,
  SegmentReport,
  SnapshotReport,
} from "./offline_commands";

export const offlineCommands: OfflineCommands = { readLog, readSnapshot, restore };

const hex = (id: bigint): string => id.toString(16);

async function readLog(dir: string, withEntries: boolean): Promise<LogReport> {
  const log = await readLogOffline(dir);
  const state = await readDataDirState(nodeFs, dir);
  const removed = typeof state === "string" ? null : state.removed;
  const { identity, hardState, report } = log;
  const { tornTail, firstIndex, lastIndex, bytesSinceSnapshot, snapshots, leftovers } = report;
  return {
    dir,
    clusterId: hex(identity.clusterId),
    memberId: hex(identity.memberId),
    instanceId: Buffer.from(identity.instanceId).toString("hex"),
    removed: removed === null ? null : `revision ${String(removed.revision)}: ${removed.text}`,
    term: hardState.term,
    vote: hardState.vote === 0n ? "" : hex(hardState.vote),
    commit: hardState.commit,
    firstIndex,
    lastIndex,
    bytesSinceSnapshot,
    segments: segmentsOf(log),
    snapshots,
    tornTail:
      tornTail === null
        ? null
        : { file: tornTail.file, offset: tornTail.offset, text: tornTail.what, sizeBytes: tornTail.bytes },
    damage: damageOf(dir, log),
    leftovers,
    entries: withEntries ? log.entries.map(summarise) : [],
  };
}

/**
 * The entries of a segment end where those of the next segment begin. Entries that were overwritten are shown only in
 * the segment that holds their latest version.
 */
function segmentsOf({ report }: OfflineLog): SegmentReport[] {
  return report.segments.map(({ file, nextIndex, records, usedBytes, fileBytes }, i) => {
    const lastIndex = (report.segments[i + 1]?.nextIndex ?? report.lastIndex + 1) - 1;
    return { file, firstIndex: nextIndex, lastIndex, records, usedBytes, fileBytes };
  });
}

function damageOf(dir: string, { report, snapshot, identity }: OfflineLog): PlaceReport[] {
  const found: PlaceReport[] = report.damagedSnapshots.map(({ file, offset, message }) => {
    return { file, offset, text: message };
  });
  if (snapshot === null) return found;
  const problem = checkRoster(snapshot, identity.clusterId);
  if (problem === null) return found;
  const file = report.snapshots.find(({ index }) => index === snapshot.meta.index)?.name ?? "";
  return [...found, { file: `${dir}/member/${file}`, offset: null, text: `${file}: ${problem}` }];
}

async function readSaved(file: string): Promise<ReadSnapshot> {
  return decodeSavedSnapshot(file, await readFile(file));
}

async function readSnapshot(file: string): Promise<SnapshotReport> {
  const { clusterId, memberId, timeMs, version, snapshot, roster, sizeBytes, sha256 } = await readSaved(file);
  const state: RosterSnapshot = RosterSnapshotMessage.decode(snapshot.data);
  return {
    file,
    clusterId: hex(clusterId),
    memberId: hex(memberId),
    index: snapshot.meta.index,
    term: snapshot.meta.term,
    revision: roster.revision,
    members: state.members.map(({ id, name, learner, started, peerUrls, adminUrls }) => {
      return { id: hex(id), name, role: learner ? "learner" : "voter", started, peerUrls, adminUrls };
    }),
    tombstoneCount: state.tombstones.length,
    timeMs,
    version,
    sizeBytes,
    sha256,
  };
}

async function restore(request: RestoreRequest): Promise<RestoreReport> {
  const { file, name, dataDir, initialClusterToken } = request;
  const members = membersOf(request);
  const saved = await readSaved(file);
  const cluster = restoredCluster(saved, members, initialClusterToken);
  const own = cluster.members.find((member) => member.name === name);
  if (own === undefined) throw new UsageError(`--initial-cluster does not name ${name}`);
  await createRestoredDataDir(nodeFs, dataDir, cluster, own.id);
  return {
    file,
    dataDir,
    oldClusterId: hex(saved.clusterId),
    oldIndex: saved.snapshot.meta.index,
    oldRevision: saved.roster.revision,
    clusterId: hex(cluster.clusterId),
    memberId: hex(own.id),
    members: cluster.members.map(({ id, name: member, peerUrl }) => ({ id: hex(id), name: member, peerUrl })),
    index: cluster.snapshot.meta.index,
    revision: cluster.revision,
    ended: cluster.ended.map(({ id, name: member }) => ({ id: hex(id), name: member })),
    tombstoneCount: cluster.tombstoneCount,
    droppedOutcomes: cluster.droppedOutcomes,
  };
}

/** The members of the new cluster, with the same checks as in a server's configuration. @throws UsageError */
function membersOf({ name, peerUrl, initialCluster }: RestoreRequest): InitialMember[] {
  try {
    const [own] = parseInitialCluster(`${name}=${peerUrl}`, "--name and --peer-url");
    if (own === undefined) throw new ConfigError("--name: required");
    if (initialCluster === "") return [own];
    const members = parseInitialCluster(initialCluster, "--initial-cluster");
    checkFirstStart({ name, peerUrl: own.peerUrl, initialCluster: members });
    return members;
  } catch (error) {
    throw error instanceof ConfigError ? new UsageError(error.message) : error;
  }
}
