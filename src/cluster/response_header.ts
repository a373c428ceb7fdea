/** The header of every answer of the public contract. */
import type { ResponseHeader } from "../generated/muster/v1/membership_service";
import { NO_NODE } from "../raft/index";
import type { ReplicaView } from "../replica/view";
import { formatId } from "../roster/index";

type Answering = Pick<ReplicaView, "id" | "clusterId" | "term" | "leader">;

/** @param revision of the answer: the roster's for a read, that of its own entry for a write */
export function responseHeader(replica: Answering, revision: number): ResponseHeader {
  return {
    clusterId: formatId(replica.clusterId),
    memberId: formatId(replica.id),
    revision: BigInt(revision),
    raftTerm: BigInt(replica.term),
    leaderId: replica.leader === NO_NODE ? "" : formatId(replica.leader),
  };
}
