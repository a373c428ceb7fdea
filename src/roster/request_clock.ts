/**
 * The time by which remembered outcomes grow old. Commands drive it; apply reads no clock.
 *
 * It goes on by the time that passed between two commands of one term, by the wall clock of that term's leader. Only
 * differences count, so a leader whose clock is far ahead of or behind the others' does not move it; the first command of
 * a term moves it by nothing. A leap of one clock counts as leapMsMax at most, and a step back as nothing. So it never
 * runs back, and each of these makes it late, which keeps outcomes longer. docs/adr/0017-request-memory-by-time.md. Pure.
 */
import type { RequestClock as State } from "../generated/muster/storage/v1/snapshot";

export class RequestClock {
  /**
   * @param leapMsMax most that one command moves the clock, in milliseconds. With more, a leap of a wall clock forgets
   *   more; with less, the clock is later after pauses between commands
   */
  private constructor(
    private readonly leapMsMax: number,
    private timeMs: number,
    private term: number,
    private wallMs: number,
  ) {}

  static start(leapMsMax: number): RequestClock {
    return new RequestClock(leapMsMax, 1, 0, 0);
  }

  static restore(leapMsMax: number, { timeMs, term, wallMs }: State): RequestClock {
    return new RequestClock(leapMsMax, Math.max(1, timeMs), term, wallMs);
  }

  /** Milliseconds, from 1. */
  get now(): number {
    return this.timeMs;
  }

  /** A command of this term was applied; `wallMs` is its leader's wall clock. */
  advance(term: number, wallMs: number): void {
    const passedMs = term === this.term ? wallMs - this.wallMs : 0;
    this.timeMs += Math.min(this.leapMsMax, Math.max(0, passedMs));
    this.term = term;
    this.wallMs = wallMs;
  }

  state(): State {
    return { timeMs: this.timeMs, term: this.term, wallMs: this.wallMs };
  }
}
