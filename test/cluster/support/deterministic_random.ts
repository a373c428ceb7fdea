/** Chance that is the same in every run, and differs between members. */
import type { Random } from "../../../src/base/random";
import { SeededRandom } from "../../../src/raft/index";

export class DeterministicRandom implements Random {
  private readonly source: SeededRandom;
  private drawn = 0n;

  constructor(private readonly seed: number) {
    this.source = new SeededRandom(seed);
  }

  below(n: number): number {
    return this.source.below(n);
  }

  u64(): bigint {
    return (BigInt(this.seed) << 40n) + ++this.drawn;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.source.below(256));
  }

  uuid(): string {
    return `uuid-${this.seed}-${String(++this.drawn)}`;
  }
}
