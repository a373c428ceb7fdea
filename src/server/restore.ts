/**
 * A new cluster from a saved snapshot: `muster snapshot restore`, run once for each of its members.
 *
 * Invariants: the same file, members and token give the same state on every member, byte by byte; only the data
 * directory's instance id is drawn. No id of the saved cluster is used again: cluster and members get new ones, and the
 * old members become tombstones. Revisions go on: the restored state stands as many indexes after the saved one as it
 * has changes, each change at an index of its own, as if the log had held an entry for it. What callers were promised
 * by request id is over: remembered outcomes are dropped.
 */
import { RosterSnapshot } from "../generated/muster/storage/v1/snapshot";
import type { MemberRecord, RosterEvent, Tombstone } from "../generated/muster/storage/v1/snapshot";
import {
  clusterId as hashClusterId,
  formatId,
  joinParts,
  laterMemberId,
  Roster,
  RosterEvent_Kind,
  SNAPSHOT_VERSION,
} from "../roster/index";
import type { Snapshot } from "../raft/index";
import { createDataDirFromSnapshot } from "../storage/data_dir";
import type { StorageFs } from "../storage/fs";
import type { Identity } from "../storage/storage";
import type { InitialMember } from "./config";
import { newInstanceId, sha256 } from "../base/random";
import type { ReadSnapshot } from "./saved_snapshot";

/** Hashed in front of what the new ids are made of, so that no other id has the same input. */
const RESTORE_DOMAIN = "muster.restore.v1";

/** The new cluster before it has run. */
export interface RestoredCluster {
  readonly clusterId: bigint;
  /** In ascending order of id. */
  readonly members: readonly (InitialMember & { readonly id: bigint })[];
  /** Its whole state; the log begins after its index. */
  readonly snapshot: Snapshot;
  readonly revision: number;
  /** Members of the saved cluster, tombstones from now on. */
  readonly ended: readonly MemberRecord[];
  /** All tombstones, those of the members that ended included. */
  readonly tombstoneCount: number;
  /** How many remembered outcomes of requests were dropped. */
  readonly droppedOutcomes: number;
}

/**
 * The state that every member of the new cluster begins with.
 *
 * @param members at least one; names and URLs all different, URLs normalised
 * @param token as initial-cluster-token: another one gives other ids
 */
export function restoredCluster(
  saved: ReadSnapshot,
  members: readonly InitialMember[],
  token: string,
): RestoredCluster {
  const { meta, data } = saved.snapshot;
  const old = RosterSnapshot.decode(data);
  // In place of the randomness of a later member's id: every member must compute the same.
  const salt = sha256(joinParts([RESTORE_DOMAIN, token, formatId(saved.clusterId), String(meta.index)]));
  const isTaken = (id: bigint): boolean =>
    saved.roster.member(id) !== null || saved.roster.tombstone(id) !== null;
  const born = members
    .map(({ name, peerUrl }) => ({
      id: laterMemberId(sha256, name, peerUrl, 0, salt, isTaken),
      name,
      peerUrl,
    }))
    .sort(byId);
  const clusterId = hashClusterId(
    sha256,
    born.map(({ id }) => id),
  );

  let index = meta.index;
  const events: RosterEvent[] = [...old.events];
  const tombstones: Tombstone[] = [...old.tombstones];
  for (const member of old.members) {
    index++;
    tombstones.push({ id: member.id, name: member.name, revision: index, timeMs: saved.timeMs });
    events.push({ kind: RosterEvent_Kind.REMOVED, revision: index, member });
  }
  const records = born.map((member): MemberRecord => {
    index++;
    const record = newRecord(member, index);
    events.push({ kind: RosterEvent_Kind.ADDED, revision: index, member: record });
    return record;
  });
  const state: RosterSnapshot = {
    version: SNAPSHOT_VERSION,
    clusterId,
    revision: index,
    members: records,
    tombstones: tombstones.sort(byId),
    outcomes: [],
    events,
  };
  // Through the roster once: it checks the state, and cuts the history to what a roster keeps.
  const roster = Roster.restore(RosterSnapshot.encode(state).finish(), { appliedIndex: index });
  const confState = {
    voters: born.map(({ id }) => id),
    learners: [],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  return {
    clusterId,
    members: born,
    snapshot: { meta: { index, term: meta.term, confState }, data: roster.snapshot() },
    revision: index,
    ended: old.members,
    tombstoneCount: tombstones.length,
    droppedOutcomes: old.outcomes.length,
  };
}

/**
 * Makes the data directory of one member of the new cluster, and nothing when it fails.
 *
 * @throws DataDirError "exists" when there is a member's data already, "in-use", "removed" or "io"
 */
export async function createRestoredDataDir(
  fs: StorageFs,
  dir: string,
  cluster: RestoredCluster,
  memberId: bigint,
): Promise<Identity> {
  const identity = { clusterId: cluster.clusterId, memberId, instanceId: newInstanceId() };
  await createDataDirFromSnapshot(fs, dir, identity, cluster.snapshot);
  return identity;
}

/** A voter that has never started, as AddMember makes one. */
function newRecord(member: InitialMember & { readonly id: bigint }, revision: number): MemberRecord {
  const { id, name, peerUrl } = member;
  return {
    id,
    name,
    peerUrls: [peerUrl],
    adminUrls: [],
    learner: false,
    instanceId: Buffer.alloc(0),
    version: "",
    started: false,
    createRevision: revision,
    updateRevision: revision,
  };
}

function byId(a: { readonly id: bigint }, b: { readonly id: bigint }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
