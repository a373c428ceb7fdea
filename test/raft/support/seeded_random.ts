/**
 * A small, fast generator that its seed determines. For tests only.
 *
 * A counter with the golden ratio as its step, mixed by two rounds of multiply and xor-shift (SplitMix, Steele et al.
 * 2014, in 32 bits).
 */
import type { RandomSource } from "../../../src/raft/config";

export class SeededRandom implements RandomSource {
  private state: number;

  constructor(seed: number) {
    // Suites use consecutive seeds: mixing the seed first makes their sequences unrelated.
    this.state = mix(seed ^ Math.imul(Math.floor(seed / 0x1_0000_0000), 0x85eb_ca6b));
  }

  /** A whole number in [0, 2^32). */
  next(): number {
    this.state = (this.state + 0x9e37_79b9) | 0;
    return mix(this.state) >>> 0;
  }

  below(n: number): number {
    return Math.floor((this.next() / 0x1_0000_0000) * n);
  }

  /** True in `percent` of 100 calls. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

function mix(value: number): number {
  let z = value | 0;
  z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
  return z ^ (z >>> 15);
}
