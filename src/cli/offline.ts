/**
 * The work of `muster wal` and of `muster snapshot inspect|restore`: reads data directories and snapshot files, and
 * makes data directories from them, without a running member. An entry point of the process: it depends on storage and
 * on parts of the server.
 */
import { realpath } from "node:fs/promises";
import type { RosterSnapshot } from "../generated/muster/storage/v1/snapshot";
import { RosterSnapshot as RosterSnapshotMessage } from "../generated/muster/storage/v1/snapshot";
import { checkFirstStart, ConfigError, parseInitialCluster } from "../server/config";
import type { InitialMember } from "../server/config";
import { summarise } from "../backup/log_report";
import { replayRoster } from "../backup/replay_roster";
import { createRestoredDataDir, restoredCluster } from "../backup/restore";
import { rescue as rescueState } from "../backup/rescue";
import { decodeSavedSnapshot, encodeSavedSnapshot } from "../backup/saved_snapshot";
import type { ReadSnapshot } from "../backup/saved_snapshot";
import { readDataDirState } from "../storage/data_dir";
import { nodeFs } from "../storage/node_fs";
import { readLogOffline } from "../storage/offline";
import type { OfflineLog } from "../storage/offline";
import { UsageError } from "./io";
import { readSnapshotFile } from "./snapshot_file";
import type {
  LogReport,
  OfflineCommands,
  PlaceReport,
  RescueReport,
  RestoreReport,
  RestoreRequest,
  SegmentReport,
  SnapshotReport,
} from "./offline_commands";

export const offlineCommands: OfflineCommands = { readLog, readSnapshot, restore, rescue };

const hex = (id: bigint): string => id.toString(16);

async function readLog(dir: string, withEntries: boolean): Promise<LogReport> {
  const log = await readLogOffline(dir);
  const state = await readDataDirState(nodeFs, dir);
  const removed = typeof state === "string" ? null : state.removed;
  const { identity, hardState, report } = log;
  const broken = brokenOf(dir, log);
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
    damage: [...damageOf(log), ...broken],
    usable: broken.length === 0,
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

function damageOf({ report }: OfflineLog): PlaceReport[] {
  return report.damagedSnapshots.map(({ file, offset, message }) => ({ file, offset, text: message }));
}

/** What can't be applied, although every byte of it is as it was written: a member does not start from it. */
function brokenOf(dir: string, log: OfflineLog): PlaceReport[] {
  const { report, snapshot } = log;
  const replayed = replayRoster(log);
  if (replayed.kind === "whole") return [];
  const { index, text } = replayed;
  if (index === null) {
    const file = report.snapshots.find((kept) => kept.index === snapshot?.meta.index)?.name ?? "";
    return [{ file: `${dir}/member/${file}`, offset: null, text: `${file}: ${text}` }];
  }
  const file = report.segments.findLast(({ nextIndex }) => nextIndex <= index)?.file ?? dir;
  return [{ file, offset: null, text: `${file}: entry ${String(index)} can't be applied: ${text}` }];
}

async function readSaved(file: string): Promise<ReadSnapshot> {
  return decodeSavedSnapshot(file, await readSnapshotFile(file));
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

async function rescue(dirs: readonly string[]): Promise<{ report: RescueReport; bytes: Uint8Array }> {
  // Two names of one directory would find it locked by this process itself.
  const real = await Promise.all(dirs.map((dir) => realpath(dir).catch(() => dir)));
  const different = dirs.filter((_, i) => real.indexOf(real[i] ?? "") === i);
  const { chosen, survivors, leftOut, commit, saved } = await rescueState(nodeFs, different, Date.now());
  const { roster } = chosen;
  const { index, term } = saved.snapshot.meta;
  const roleOf = (id: bigint): RescueReport["survivors"][number]["role"] => {
    const member = roster.member(id);
    if (member === null) return roster.tombstone(id) === null ? "unknown" : "removed";
    return member.learner ? "learner" : "voter";
  };
  const report: RescueReport = {
    survivors: survivors.map(({ dir, log, lastIndex, lastTerm }) => {
      const { identity, hardState } = log;
      const { memberId } = identity;
      const name = roster.member(memberId)?.name ?? roster.tombstone(memberId)?.name ?? "";
      const role = roleOf(memberId);
      return {
        dir,
        memberId: hex(memberId),
        name,
        role,
        lastIndex,
        lastTerm,
        term: hardState.term,
        commit: hardState.commit,
      };
    }),
    leftOut,
    clusterId: hex(saved.clusterId),
    index,
    term,
    revision: roster.revision,
    members: roster.members().map(({ id, name, learner, peerUrls }) => {
      return { id: hex(id), name, role: learner ? "learner" : "voter", peerUrl: peerUrls[0] ?? "" };
    }),
    beyondCommit: Math.max(0, index - commit),
  };
  return { report, bytes: encodeSavedSnapshot(saved) };
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
