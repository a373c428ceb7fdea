/**
 * The order in which one call, or one watch, tries the endpoints: one round over all of them after the other. Pure.
 *
 * The endpoints may change between rounds. One whose member says that it does not serve comes last in each round, when
 * all others have failed.
 */
import type { Channel } from "./attempt";

export class Rounds {
  /** Attempts made so far, over all rounds. */
  made = 0;
  private untried: readonly Channel[] = [];
  /** Endpoints of this round. */
  private size = 1;
  private inRound = 0;
  private finished = -1;

  /**
   * @param channels the endpoints at the moment
   * @param begin the one to begin each round with; undefined: the first
   */
  constructor(
    private readonly channels: () => readonly Channel[],
    private begin: Channel | undefined,
  ) {}

  /** Number of endpoints of this round. */
  get endpoints(): number {
    return this.size;
  }

  /** Attempts made, as if every round had had the endpoints of this one: a multiple of `endpoints` is a round's end. */
  get attempt(): number {
    return this.finished * this.size + this.inRound;
  }

  /** Those to choose from for the next attempt, the preferred one first. Begins a round when the last one is over. */
  candidates(): readonly Channel[] {
    if (this.untried.length === 0) {
      this.untried = startingAt(this.channels(), this.begin);
      this.size = Math.max(1, this.untried.length);
      this.inRound = 0;
      this.finished++;
    }
    const serving = this.untried.filter(mayServe);
    return serving.length > 0 ? serving : this.untried;
  }

  /** Counts an attempt at one of them. */
  tried(channel: Channel): void {
    this.untried = this.untried.filter((other) => other !== channel);
    this.made++;
    this.inRound++;
  }

  /** Begins anew, as if nothing had failed, with the endpoint after this one. */
  restartAfter(channel: Channel): void {
    const channels = this.channels();
    this.begin = channels[(channels.indexOf(channel) + 1) % channels.length];
    this.untried = [];
    this.finished = -1;
  }
}

/** Whether nothing is known against asking it. */
export function mayServe(channel: Channel): boolean {
  return channel.serving !== false;
}

/** The channels in their order from `first` on, and then those before it. */
export function startingAt(channels: readonly Channel[], first: Channel | undefined): readonly Channel[] {
  const at = first === undefined ? 0 : Math.max(0, channels.indexOf(first));
  return [...channels.slice(at), ...channels.slice(0, at)];
}
