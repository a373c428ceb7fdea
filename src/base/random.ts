/** Randomness as an argument, with the operating system's generator as the default; and SHA-256. */
import { createHash, hash, randomBytes, randomUUID } from "node:crypto";
import type { Hash } from "node:crypto";

/** SHA-256 of what is given to update(), part by part; digest() ends it. */
export function sha256OfParts(): Hash {
  return createHash("sha256");
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return hash("sha256", bytes, "buffer");
}

/** The only source of randomness in the process, so that a simulation can repeat a run. */
export interface Random {
  /** A uniformly distributed whole number in [0, n). */
  below(n: number): number;
  /** A nonzero unsigned 64-bit number, for proposal ids and the contexts of reads. */
  u64(): bigint;
  /** Random bytes, for instance ids and for the ids of members that are added later. */
  bytes(count: number): Uint8Array;
  /** A UUID, for request ids. */
  uuid(): string;
}

/** Length of a data directory's instance id. Unit: bytes. */
export const INSTANCE_ID_BYTES = 16;

/** Draws random bytes 4 KiB at a time, because a call to the generator costs much more than the bytes. */
class RandomPool {
  private bytes = Buffer.alloc(0);
  private offset = 0;

  next(): bigint {
    if (this.offset + 8 > this.bytes.length) {
      this.bytes = randomBytes(4096);
      this.offset = 0;
    }
    const value = this.bytes.readBigUInt64LE(this.offset);
    this.offset += 8;
    return value;
  }
}

const pool = new RandomPool();

/** The operating system's generator. */
export const systemRandom: Random = {
  below: (n) => Number(pool.next() % BigInt(n)),
  u64: () => {
    for (;;) {
      const value = pool.next();
      if (value !== 0n) return value;
    }
  },
  bytes: (count) => randomBytes(count),
  uuid: () => randomUUID(),
};
