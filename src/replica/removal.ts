/**
 * Keeps a removed member running until the cluster can do without its vote. A voter that has not learned that the
 * removal committed still counts votes by the old configuration, which may have no majority without this member (one or
 * two voters, or others that are down). If this member ended at once, that voter could never lead or learn again.
 *
 * It may end when so many voters of the new configuration are known to have applied the removal that each of its
 * quorums has one of them; or when no member has asked for a vote for a while, since some may never answer. Pure.
 * Why: docs/adr/0010-a-removed-member-stays-for-its-vote.md.
 */
import type { NodeId } from "../raft/index";

/** Election timeouts without a request for a vote; a voter that needs one asks at least every second timeout. */
const QUIET_ELECTIONS = 10;

export class Removal {
  private readonly knowing = new Set<NodeId>();
  private readonly quietTicks: number;

  /** @param lastAskedTick the present tick */
  constructor(
    private lastAskedTick: number,
    electionTicks: number,
  ) {
    this.quietTicks = QUIET_ELECTIONS * electionTicks;
  }

  /** `id` has applied the removal, and will not forget it. */
  knows(id: NodeId): void {
    this.knowing.add(id);
  }

  /** Another member asked for this one's vote. */
  asked(tick: number): void {
    this.lastAskedTick = tick;
  }

  /** Of the voters, those that are not known to have applied the removal. */
  waitsFor(voters: readonly NodeId[]): NodeId[] {
    return voters.filter((id) => !this.knowing.has(id));
  }

  /** @param voters of the configuration, without this member */
  isOver(tick: number, voters: readonly NodeId[]): boolean {
    const open = this.waitsFor(voters).length;
    return 2 * (voters.length - open) >= voters.length || tick - this.lastAskedTick >= this.quietTicks;
  }
}
