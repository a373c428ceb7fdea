/** GetCluster's answer: the roster, and on the leader what it knows of each member. */
import type { MemberStatus } from "../generated/muster/v1/member";
import type { GetClusterResponse, ResponseHeader } from "../generated/muster/v1/membership_service";
import type { MemberRecord } from "../generated/muster/storage/v1/snapshot";
import { toMember } from "../roster/index";
import type { ProgressStatus } from "../raft/index";
import { toDuration } from "./errors";
import type { Node } from "./node";

/**
 * @param nowMs the clock's time, on the leader after a confirmed ReadIndex; null leaves out what only the leader knows
 */
export function clusterStatus(node: Node, header: ResponseHeader, nowMs: number | null): GetClusterResponse {
  const members = node.roster.members();
  const progress = nowMs === null ? null : node.status().progress;
  const statuses = members.map((member) => memberStatus(node, member, progress?.get(member.id), nowMs));
  const voters = statuses.filter((_, i) => members[i]?.learner === false);
  const quorumSize = Math.floor(voters.length / 2) + 1;
  const alive = nowMs === null ? voters.length : voters.filter((voter) => voter.reachable === true).length;
  return {
    header,
    members: statuses,
    quorumSize,
    failuresTolerated: Math.max(0, alive - quorumSize),
    commitIndex: BigInt(node.committed),
    appliedIndex: BigInt(node.applied),
  };
}

function memberStatus(
  node: Node,
  record: MemberRecord,
  progress: ProgressStatus | undefined,
  nowMs: number | null,
): MemberStatus {
  const status: MemberStatus = {
    member: toMember(record),
    isLeader: record.id === node.leader,
    matchIndex: undefined,
    lagEntries: undefined,
    lastContact: undefined,
    reachable: undefined,
    version: record.version,
  };
  if (nowMs === null) return status;
  const isSelf = record.id === node.id;
  const match = isSelf ? node.lastIndex : (progress?.match ?? 0);
  const heardMs = isSelf ? nowMs : node.contacts.lastHeardMs(record.id);
  return {
    ...status,
    matchIndex: BigInt(match),
    lagEntries: BigInt(Math.max(0, node.lastIndex - match)),
    lastContact: heardMs === null ? undefined : toDuration(nowMs - heardMs),
    reachable: isSelf || node.contacts.inContactTicks(record.id, node.ticks) !== null,
  };
}
