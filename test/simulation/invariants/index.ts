/**
 * The invariants that are checked after every event. Properties of a whole run are in linearizability_roster.ts and
 * liveness.ts.
 */
import type { Observer } from "../observer";
import type { ClusterRecord } from "../record";
import type { World } from "../world";
import { AcknowledgedIsDurable } from "./acknowledged_is_durable";
import { AcknowledgedWrites } from "./acknowledged_writes";
import type { AnsweredTransferLeads } from "./answered_transfer_leads";
import { CommitAgreement } from "./commit_agreement";
import { CommittedOnQuorum } from "./committed_on_quorum";
import { EqualRosters } from "./equal_rosters";
import { IndexOrder } from "./index_order";
import { LeaderCompleteness } from "./leader_completeness";
import { LogMatching } from "./log_matching";
import { OneConfChange } from "./one_conf_change";
import { OneDirectory } from "./one_directory";
import { OneLeader } from "./one_leader";
import { OneTruth } from "./one_truth";
import { OneVote } from "./one_vote";
import { PromotionsAreReady } from "./promotions_are_ready";
import { ReconfigurationKeepsQuorum } from "./reconfiguration_keeps_quorum";
import { RemovedIds } from "./removed_ids";
import { RefusedRequests } from "./refused_requests";
import { RepeatedRequests } from "./repeated_requests";
import { Replacements } from "./replacements";
import { RequestMemory } from "./request_memory";
import { Revision } from "./revision";
import { StewardActs } from "./steward";

export function invariants(
  world: World,
  record: ClusterRecord,
  transfers: AnsweredTransferLeads,
): Observer[] {
  return [
    new LogMatching(record),
    new CommitAgreement(record),
    new OneLeader(),
    new OneVote(),
    new LeaderCompleteness(record),
    new CommittedOnQuorum(world, record),
    new IndexOrder(),
    new OneConfChange(record),
    new RemovedIds(),
    new Revision(),
    new OneTruth(),
    new OneDirectory(world),
    new RepeatedRequests(world),
    new RefusedRequests(world),
    new RequestMemory(world),
    new EqualRosters(record),
    new AcknowledgedIsDurable(world),
    new AcknowledgedWrites(world),
    new ReconfigurationKeepsQuorum(),
    new PromotionsAreReady(world, record),
    new Replacements(),
    new StewardActs(),
    transfers,
  ];
}
