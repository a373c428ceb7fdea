/**
 * Creates a new cluster from a saved snapshot: `muster snapshot restore`, run once for each member of the new cluster.
 *
 * Invariants: the same file, members and token give the same state on every member, byte by byte; only the data
 * directory's instance id is random. No id of the saved cluster is used again: the cluster and its members get new ids,
 * and the old members become tombstones. Revisions continue: each removed and each added member takes one log index
 * after the saved one, as if the log had an entry for it. Remembered outcomes are dropped, so that a request_id of the
 * saved cluster can be applied once more.
 */
import { RosterSnapshot } from "../generated/muster/storage/v1/snapshot";
import type { MemberRecord, RosterEvent, Tombstone } from "../generated/muster/storage/v1/snapshot";
import {
  clusterId as hashClusterId,
  formatId,
  joinParts,
  laterMemberId,
  MemberTarget,
  Roster,
  RosterEvent_Kind,
  SNAPSHOT_VERSION,
} from "../roster/index";
import type { Snapshot } from "../raft/index";
import { createDataDirFromSnapshot } from "../storage/data_dir";
import type { StorageFs } from "../storage/fs";
import type { Identity } from "../storage/storage";
import { INSTANCE_ID_BYTES, sha256, systemRandom } from "../base/random";
import type { ReadSnapshot } from "./saved_snapshot";

/** Prefix of the hashed input of the salt, so that nothing else hashes the same input. */
const RESTORE_DOMAIN = "muster.restore.v1";

/** No command made these changes, so there is nobody who asked for them. Every member computes the same. */
const RESTORED = {
  previous: undefined,
  timeMs: 0,
  caller: "",
  note: "",
  requestId: "",
  settings: undefined,
  previousSettings: undefined,
} as const;

/** A member of the new cluster. */
interface NewClusterMember {
  readonly name: string;
  /** Normalised. */
  readonly peerUrl: string;
}

/** The initial state of the new cluster. */
interface RestoredCluster {
  readonly clusterId: bigint;
  /** In ascending order of id. */
  readonly members: readonly (NewClusterMember & { readonly id: bigint })[];
  /** The whole state of the new cluster; the log begins after the snapshot's index. */
  readonly snapshot: Snapshot;
  readonly revision: number;
  /** The members of the saved cluster. The new cluster has a tombstone for each. */
  readonly ended: readonly MemberRecord[];
  /** Number of all tombstones, those of `ended` included. */
  readonly tombstoneCount: number;
  /** How many remembered outcomes of requests were dropped. */
  readonly droppedOutcomes: number;
}

/**
 * Computes the initial state of the new cluster.
 *
 * @param members at least one; all names and all URLs different, URLs normalised
 * @param token as initial-cluster-token: a different token gives different ids
 */
export function restoredCluster(
  saved: ReadSnapshot,
  members: readonly NewClusterMember[],
  token: string,
): RestoredCluster {
  const { meta, data } = saved.snapshot;
  const old = RosterSnapshot.decode(data);
  // Takes the place of the random bytes in a later member's id, because every member must compute the same ids.
  const salt = sha256(joinParts([RESTORE_DOMAIN, token, formatId(saved.clusterId), String(meta.index)]));
  const isTaken = (id: bigint): boolean =>
    saved.roster.member(id) !== null || saved.roster.tombstone(id) !== null;
  const added = members
    .map(({ name, peerUrl }) => ({
      id: laterMemberId(sha256, name, peerUrl, 0, salt, isTaken),
      name,
      peerUrl,
    }))
    .sort(byId);
  const clusterId = hashClusterId(
    sha256,
    added.map(({ id }) => id),
  );

  let index = meta.index;
  const events: RosterEvent[] = [...old.events];
  const tombstones: Tombstone[] = [...old.tombstones];
  for (const member of old.members) {
    index++;
    tombstones.push({ id: member.id, name: member.name, revision: index, timeMs: saved.timeMs });
    events.push({ ...RESTORED, kind: RosterEvent_Kind.REMOVED, revision: index, member });
  }
  const records = added.map((member): MemberRecord => {
    index++;
    const record = newRecord(member, index);
    events.push({ ...RESTORED, kind: RosterEvent_Kind.ADDED, revision: index, member: record });
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
    settings: old.settings,
    requestClock: undefined,
  };
  // Restoring a roster checks the state and cuts the event history to its limit.
  const roster = Roster.restore(RosterSnapshot.encode(state).finish(), { appliedIndex: index });
  const confState = {
    voters: added.map(({ id }) => id),
    learners: [],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  return {
    clusterId,
    members: added,
    snapshot: { meta: { index, term: meta.term, confState }, data: roster.snapshot() },
    revision: index,
    ended: old.members,
    tombstoneCount: tombstones.length,
    droppedOutcomes: old.outcomes.length,
  };
}

/**
 * Creates the data directory of one member of the new cluster. Leaves nothing behind when it fails.
 *
 * @throws DataDirError "exists" when the directory already has a member's data, "in-use", "removed" or "io"
 */
export async function createRestoredDataDir(
  fs: StorageFs,
  dir: string,
  cluster: RestoredCluster,
  memberId: bigint,
): Promise<Identity> {
  const identity = {
    clusterId: cluster.clusterId,
    memberId,
    instanceId: systemRandom.bytes(INSTANCE_ID_BYTES),
  };
  await createDataDirFromSnapshot(fs, dir, identity, cluster.snapshot);
  return identity;
}

/** A voter that has not started. */
function newRecord(member: NewClusterMember & { readonly id: bigint }, revision: number): MemberRecord {
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
    bootId: Buffer.alloc(0),
    bootRevision: 0,
    target: MemberTarget.UNSPECIFIED,
    replaces: 0n,
  };
}

function byId(a: { readonly id: bigint }, b: { readonly id: bigint }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
