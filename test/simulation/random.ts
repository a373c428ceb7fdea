/**
 * The only source of randomness of a run. The simulation and its members draw every random choice here, in the order of
 * events, so that equal seeds give equal runs.
 *
 * sfc32 (Doty-Humphrey, PractRand): 128 bits of state, so that runs of many draws do not repeat. Not for secrets.
 */
import type { Random } from "../../src/base/random";

export class SimRandom implements Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number) {
    this.a = seed | 0;
    this.b = Math.trunc(seed / 0x1_0000_0000) | 0;
    this.c = 0x2545_f491;
    for (let i = 0; i < 15; i++) this.u32();
  }

  /** An unsigned 32-bit number. */
  u32(): number {
    const result = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** A whole number in [0, n). */
  below(n: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * n);
  }

  /** A whole number in [low, high]. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.u32() < probability * 0x1_0000_0000;
  }

  /** One of the items, or null when there are none. */
  pick<T>(items: readonly T[]): T | null {
    return items[this.below(items.length)] ?? null;
  }

  /** An unsigned 64-bit number, never 0. */
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32() || 1);
  }

  /** A unique text. It does not have the form of a UUID, but is as unlikely to repeat. */
  uuid(): string {
    return this.u64().toString(16);
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i++) bytes[i] = this.u32() & 0xff;
    return bytes;
  }
}
