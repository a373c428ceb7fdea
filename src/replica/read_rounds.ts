/**
 * Linearizable reads: waits for a confirmed ReadIndex, many reads to one round.
 *
 * Reads that arrive while a round is under way wait for the next one: a round that began before a read can't serve it.
 * A round that stays without answer (a message was lost, the leader changed) is begun again with a context of its own;
 * a context is never used twice, not even across restarts (etcd#20418). Raft thesis, section 6.4.
 */
import type { ReadState } from "../raft/index";

/** One waiting read. */
export interface Read {
  /** Whether a quorum has confirmed it; it may still wait for apply. */
  readonly confirmed: boolean;
  /** Gives up. `done` is not called any more. */
  cancel(): void;
}

class PendingRead implements Read {
  confirmed = false;
  cancelled = false;
  constructor(readonly done: () => void) {}
  cancel(): void {
    this.cancelled = true;
  }
}

export class ReadRounds {
  /** Not yet part of a round. */
  private waiting: PendingRead[] = [];
  /** Part of the round under way. */
  private round: { context: bigint; sentTick: number; reads: PendingRead[] } | null = null;
  /** Confirmed, in ascending order of index; wait for apply. */
  private confirmed: { index: number; reads: PendingRead[] }[] = [];
  private nextContext: bigint;

  /**
   * @param firstContext random, so that contexts of an earlier life of this member never come again
   * @param retryTicks after how many ticks a round without answer is begun anew
   */
  constructor(
    firstContext: bigint,
    private readonly retryTicks: number,
  ) {
    this.nextContext = firstContext;
  }

  /** `done` is called once the state machine has applied everything that was committed before this call. */
  add(done: () => void): Read {
    const read = new PendingRead(done);
    this.waiting.push(read);
    return read;
  }

  get hasWaiting(): boolean {
    return this.waiting.length > 0 && this.round === null;
  }

  get size(): number {
    return this.waiting.length + (this.round?.reads.length ?? 0);
  }

  /** Begins the next round where one is due. `request` asks the core; false means that no leader is known now. */
  pump(tick: number, request: (context: bigint) => boolean): void {
    if (this.round !== null || this.waiting.length === 0) return;
    const reads = this.waiting.filter((read) => !read.cancelled);
    if (reads.length === 0) {
      this.waiting = [];
      return;
    }
    const context = this.nextContext;
    this.nextContext = BigInt.asUintN(64, context + 1n) || 1n;
    if (!request(context)) {
      this.waiting = reads;
      return;
    }
    this.waiting = [];
    this.round = { context, sentTick: tick, reads };
  }

  /** Time passes: a round without answer is given up, its reads wait for the next one. */
  tick(tick: number): void {
    if (this.round !== null && tick - this.round.sentTick >= this.retryTicks) this.restart();
  }

  /** The leader changed: the round under way may never be answered. */
  restart(): void {
    if (this.round === null) return;
    this.waiting = [...this.round.reads, ...this.waiting];
    this.round = null;
  }

  /** The core confirmed rounds. */
  onReadStates(states: readonly ReadState[]): void {
    for (const { index, context } of states) {
      if (this.round?.context !== context) continue;
      const { reads } = this.round;
      this.round = null;
      for (const read of reads) read.confirmed = true;
      this.confirmed.push({ index, reads });
    }
  }

  /** Everything up to `index` is applied: reads confirmed at or below it are answered. */
  onApplied(index: number): void {
    while (this.confirmed.length > 0) {
      const first = this.confirmed[0];
      if (first === undefined || first.index > index) return;
      this.confirmed.shift();
      for (const read of first.reads) if (!read.cancelled) read.done();
    }
  }
}
