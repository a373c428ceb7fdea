/**
 * A small seeded generator for tests, simulations and members without a better source. Equal seeds give equal runs.
 * xorshift32 (Marsaglia, 2003). Not for secrets.
 */
import type { RandomSource } from "./config";

export class SeededRandom implements RandomSource {
  private state: number;

  /** @param seed any integer; its low 32 bits count */
  constructor(seed: number) {
    // Xorshift never leaves the state zero, so it is replaced. The multiplication spreads neighbouring seeds.
    this.state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0 || 0x6d2b79f5;
  }

  below(n: number): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return this.state % n;
  }
}
