/**
 * A leader whose disk is full hands its leadership to a voter with space: it would refuse every write, though the others
 * could take them.
 *
 * Only while a majority of the voters is in contact and has space: a new leader has to commit an entry of its term before
 * it answers anything, and full members take no entry. The old one goes on with its reads, which need no space.
 */
import type { Log } from "../../base/log";
import type { Replica } from "../../replica/replica";
import type { ReplicaView } from "../../replica/view";
import { bestSuccessor } from "./handover";

/** Looks at every tick of `replica`, for as long as it runs. */
export function handOverWhenFull(replica: Replica, log: Log): void {
  let nextTick = 0;
  const onTick = (): void => {
    if (!replica.isLeader || replica.ticks < nextTick || !leavesFullDisk(replica)) return;
    const successor = bestSuccessor(replica);
    if (successor === null || replica.disks.isFull(successor)) return;
    // A transfer that fails is given up after one election timeout.
    nextTick = replica.ticks + replica.electionTicks + 1;
    const { term, lastIndex: index } = replica;
    log.warn({ to: successor, term, index }, "the disk is full: handing leadership to a member with space");
    replica.transferLeader(successor);
  };
  replica.listen({ onTick });
}

/** Whether this leader's disk is full, and another leader could take writes: it is about to hand over. */
export function leavesFullDisk(replica: ReplicaView): boolean {
  const { id: self, roster, contacts, disks, ticks, hasSpace } = replica;
  if (hasSpace) return false;
  const voters = roster.members().filter(({ learner }) => !learner);
  const able = voters.filter(
    ({ id }) => id !== self && contacts.inContactTicks(id, ticks) !== null && !disks.isFull(id),
  );
  return 2 * able.length > voters.length;
}
