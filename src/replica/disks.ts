/**
 * Whose disks are full: this member's own, as it notices it, and the others', as they say.
 *
 * A member that says nothing counts as one with space: so do members of a version that does not say it.
 */
import type { NodeId } from "../raft/index";
import type { Storage } from "../storage/storage";
import type { Transport } from "../transport/transport";

/**
 * So many election timeouts longer than others a member with a full disk waits before it campaigns. Others draw theirs
 * between one and two, so that two of them have failed by then.
 */
const LAST_RESORT_TIMEOUTS = 3;

interface DisksOptions {
  /** This member's own. */
  readonly storage: Pick<Storage, "hasSpace">;
  /** The way to tell the others. */
  readonly transport: Pick<Transport, "setDiskFull">;
}

export class Disks {
  private readonly full = new Set<NodeId>();
  private ownFull = false;

  constructor(
    private readonly options: DisksOptions,
    private readonly electionTicks: number,
  ) {}

  /** One tick passed. */
  tick(): void {
    const full = !this.options.storage.hasSpace();
    if (full === this.ownFull) return;
    this.ownFull = full;
    this.options.transport.setDiskFull(full);
  }

  /** The member `id` said so, or opened a new stream (false). */
  heard(id: NodeId, full: boolean): void {
    if (full) this.full.add(id);
    else this.full.delete(id);
  }

  /** Whether `id`, another member, said last that its disk is full. */
  isFull(id: NodeId): boolean {
    return this.full.has(id);
  }

  /**
   * How much longer than its election timeout this member waits before it campaigns, in ticks. A full member can lead
   * only badly, so it leaves that to the others, unless none of them has space either.
   */
  campaignDelayTicks(otherVoters: () => readonly NodeId[]): number {
    if (!this.ownFull || otherVoters().every((id) => this.full.has(id))) return 0;
    return LAST_RESORT_TIMEOUTS * this.electionTicks;
  }
}
