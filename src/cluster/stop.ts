/**
 * The order in which a member's cluster layer stops: nothing new, leadership to another member, what is in the log
 * finishes, then every call that waits is ended.
 */
import type { Clock } from "../base/clock";
import { NO_NODE } from "../raft/index";
import type { ReplicaView } from "../replica/view";
import type { Cluster } from "./assemble";
import { bestSuccessor } from "./leader/handover";

/** How long a stopping member waits for entries that are in the log, in milliseconds. */
const SETTLE_MS_MAX = 1000;

/** Settles when no call waits any more. The replica still runs, and the transport still sends. */
export async function stopServing(cluster: Cluster, clock: Clock, electionMs: number): Promise<void> {
  const { publisher, submissions, replica } = cluster;
  publisher.stop();
  submissions.stop();
  await handOver(replica, cluster, clock, electionMs);
  await waitUntil(() => submissions.size === 0, SETTLE_MS_MAX, replica, clock);
  endCalls(cluster);
}

/** Ends every call at once: the member can't go on, or has nothing to wait for. */
export function endCalls({
  publisher,
  submissions,
  writes,
  routing,
  reads,
  transfers,
  watches,
}: Cluster): void {
  publisher.stop();
  submissions.abandon();
  writes.stop();
  reads.stop();
  transfers.stop();
  watches.stop();
  routing.stop();
}

/** Ends what runs: nothing is sent or applied any more. */
export function endReplica({ transport, replica }: Cluster): void {
  transport.stop();
  replica.stop();
}

/** A leader that stops hands over first, so that the others need not wait for an election timeout. */
async function handOver(
  replica: ReplicaView,
  cluster: Cluster,
  clock: Clock,
  electionMs: number,
): Promise<void> {
  if (!replica.isLeader) return;
  const successor = bestSuccessor(replica);
  if (successor === null) return;
  cluster.replica.transferLeader(successor);
  await waitUntil(() => !replica.isLeader && replica.leader !== NO_NODE, electionMs, replica, clock);
}

function waitUntil(
  condition: () => boolean,
  timeoutMs: number,
  replica: ReplicaView,
  clock: Clock,
): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      timer.cancel();
      leave();
      resolve();
    };
    const look = (): void => {
      if (condition()) end();
    };
    const timer = clock.setTimeout(end, timeoutMs);
    const leave = replica.listen({ onLeadership: look, onApplied: look, onTick: look, onFatal: end });
    look();
  });
}
