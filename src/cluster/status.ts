/** GetCluster's answer: the roster, and on the leader what it knows of each member. */
import type { MemberStatus } from "../generated/muster/v1/member";
import type { GetClusterResponse, ResponseHeader } from "../generated/muster/v1/membership_service";
import type { MemberRecord } from "../generated/muster/storage/v1/snapshot";
import { toMember } from "../roster/index";
import { toDuration } from "../rpc/error_details";
import type { ProgressStatus } from "../raft/index";
import type { ReplicaView } from "../replica/view";

/**
 * @param nowMs the clock's time, on the leader after a confirmed ReadIndex; null leaves out what only the leader knows
 */
export function clusterStatus(
  replica: ReplicaView,
  header: ResponseHeader,
  nowMs: number | null,
): GetClusterResponse {
  const members = replica.roster.members();
  const progress = nowMs === null ? null : replica.status().progress;
  const statuses = members.map((member) => memberStatus(replica, member, progress?.get(member.id), nowMs));
  const voters = statuses.filter((_, i) => members[i]?.learner === false);
  const quorumSize = Math.floor(voters.length / 2) + 1;
  const alive = nowMs === null ? voters.length : voters.filter((voter) => voter.reachable === true).length;
  return {
    header,
    members: statuses,
    quorumSize,
    failuresTolerated: Math.max(0, alive - quorumSize),
    commitIndex: BigInt(replica.committed),
    appliedIndex: BigInt(replica.applied),
  };
}

function memberStatus(
  replica: ReplicaView,
  record: MemberRecord,
  progress: ProgressStatus | undefined,
  nowMs: number | null,
): MemberStatus {
  const status: MemberStatus = {
    member: toMember(record),
    isLeader: record.id === replica.leader,
    matchIndex: undefined,
    lagEntries: undefined,
    lastContact: undefined,
    reachable: undefined,
    version: record.version,
  };
  if (nowMs === null) return status;
  const isSelf = record.id === replica.id;
  const match = isSelf ? replica.lastIndex : (progress?.match ?? 0);
  const heardMs = isSelf ? nowMs : replica.contacts.lastHeardMs(record.id);
  return {
    ...status,
    matchIndex: BigInt(match),
    lagEntries: BigInt(Math.max(0, replica.lastIndex - match)),
    lastContact: heardMs === null ? undefined : toDuration(nowMs - heardMs),
    reachable: isSelf || replica.contacts.inContactTicks(record.id, replica.ticks) !== null,
  };
}
