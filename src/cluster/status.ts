/** GetCluster's answer: the roster, what this member hears of each, and on the leader what it knows of each. */
import type { MemberStatus } from "../generated/muster/v1/member";
import type { GetClusterResponse, ResponseHeader } from "../generated/muster/v1/membership_service";
import type { MemberRecord } from "../generated/muster/storage/v1/snapshot";
import { clusterVersion, readyFeatures, toMember, toSettings } from "../roster/index";
import { toDuration } from "../rpc/error_details";
import { ProgressState } from "../raft/index";
import type { NodeId, ProgressStatus } from "../raft/index";
import type { ReplicaView } from "../replica/view";

/**
 * Most entries that a voter may be behind and still count as one that would keep the cluster going. A leader keeps at
 * least about this many entries behind its newest snapshot, so a voter within them catches up from the log, in about a
 * second; one further behind needs a snapshot first, and the cluster would stand still for as long as that takes.
 */
const LAG_ENTRIES_MAX = 5000;

/**
 * @param nowMs the clock's time
 * @param confirmed whether this member leads, and a ReadIndex has confirmed it: otherwise what only the leader knows is
 *   left out
 */
export function clusterStatus(
  replica: ReplicaView,
  header: ResponseHeader,
  nowMs: number,
  confirmed: boolean,
): GetClusterResponse {
  const members = replica.roster.members();
  const progress = confirmed ? replica.status().progress : null;
  const statuses = members.map((member) => {
    const status = memberStatus(replica, member, nowMs, confirmed);
    return progress === null
      ? status
      : { ...status, ...asLeader(replica, member, progress.get(member.id), nowMs) };
  });
  const voters = statuses.filter((_, i) => members[i]?.learner === false);
  const quorumSize = Math.floor(voters.length / 2) + 1;
  const ready = voters.filter((voter) => isReady(voter, progress)).length;
  return {
    header,
    members: statuses,
    quorumSize,
    failuresTolerated: Math.max(0, ready - quorumSize),
    failuresToleratedKnown: progress !== null,
    commitIndex: BigInt(replica.committed),
    appliedIndex: BigInt(replica.applied),
    settings: toSettings(replica.roster.settings),
    clusterVersion: clusterVersion(members),
    features: readyFeatures(members),
  };
}

/** Whether the cluster would go on with this voter in the place of one that fails now. */
function isReady(
  { member, reachable, lagEntries, diskFull: full }: MemberStatus,
  progress: ReadonlyMap<bigint, ProgressStatus> | null,
): boolean {
  if (member === undefined || reachable !== true || !member.started) return false;
  // A member whose disk is full takes no entries: it can't be part of a quorum. Unset: not said, or not known.
  if (full === true) return false;
  const state = progress?.get(BigInt(`0x${member.id}`))?.state;
  return state !== ProgressState.Snapshot && lagEntries !== undefined && lagEntries <= LAG_ENTRIES_MAX;
}

function memberStatus(
  replica: ReplicaView,
  record: MemberRecord,
  nowMs: number,
  leads: boolean,
): MemberStatus {
  const heardMs = replica.contacts.lastReceivedMs(record.id);
  return {
    member: toMember(record),
    isLeader: record.id === replica.leader,
    matchIndex: undefined,
    lagEntries: undefined,
    lastContact: undefined,
    reachable: undefined,
    version: record.version,
    diskFull: diskFull(replica, record.id, leads),
    lastHeard: heardMs === null ? undefined : toDuration(Math.max(0, nowMs - heardMs)),
  };
}

/** What only the leader knows of a member. */
function asLeader(
  replica: ReplicaView,
  { id }: MemberRecord,
  progress: ProgressStatus | undefined,
  nowMs: number,
): Pick<MemberStatus, "matchIndex" | "lagEntries" | "lastContact" | "reachable"> {
  const isSelf = id === replica.id;
  const match = isSelf ? replica.lastIndex : (progress?.match ?? 0);
  const answeredMs = isSelf ? nowMs : replica.contacts.lastHeardMs(id);
  return {
    matchIndex: BigInt(match),
    lagEntries: BigInt(Math.max(0, replica.lastIndex - match)),
    lastContact: answeredMs === null ? undefined : toDuration(nowMs - answeredMs),
    reachable: isSelf || replica.contacts.inContactTicks(id, replica.ticks) !== null,
  };
}

/** Undefined when the answering member can't know it. */
function diskFull(replica: ReplicaView, id: NodeId, leads: boolean): boolean | undefined {
  if (id === replica.id) return !replica.hasSpace;
  const inContact = leads && replica.contacts.inContactTicks(id, replica.ticks) !== null;
  return inContact ? replica.disks.isFull(id) : undefined;
}
