/**
 * The last time of a removed member. It stays for a while, and gives its vote to whoever asks: a voter that does not
 * know yet that the removal is committed goes by the old configuration, which may have no majority without this member
 * (one or two voters, or others that are down). Were it gone at once, that voter could never lead or learn again.
 *
 * It is over when so many voters of the new configuration are known to know, that each of its quorums has one of them; or
 * when nobody has asked for a vote for a while, since some may never say anything any more. Pure.
 */
import type { NodeId } from "../raft/index";

/** Election timeouts without a request for a vote; who needs one asks at least every second one. */
const QUIET_ELECTIONS = 10;

export class Farewell {
  private readonly knowing = new Set<NodeId>();
  private readonly quietTicks: number;

  /** @param lastAskedTick now */
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

  /** Somebody asked for this member's vote. */
  asked(tick: number): void {
    this.lastAskedTick = tick;
  }

  /** Of the voters, those that have not said that they know. */
  waitsFor(voters: readonly NodeId[]): NodeId[] {
    return voters.filter((id) => !this.knowing.has(id));
  }

  /** @param voters of the configuration, without this member */
  isOver(tick: number, voters: readonly NodeId[]): boolean {
    const open = this.waitsFor(voters).length;
    return 2 * (voters.length - open) >= voters.length || tick - this.lastAskedTick >= this.quietTicks;
  }
}
