/** Random numbers that must never repeat: proposal ids, read contexts, instance ids. From the system's generator. */
import { createHash, randomBytes } from "node:crypto";

export function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

/** Finds the call that waits for an entry. Never 0, which bootstrap entries carry. */
export function newProposalId(): bigint {
  return randomU64();
}

/** A nonzero unsigned 64-bit number. */
export function randomU64(): bigint {
  for (;;) {
    const value = randomPool.next();
    if (value !== 0n) return value;
  }
}

/** Makes a later member's id differ from every other. */
export function randomBytes16(): Uint8Array {
  return randomBytes(16);
}

/** The id that a data directory is born with. */
export function newInstanceId(): Uint8Array {
  return randomBytes16();
}

/** For election timeouts: two members must not draw alike, so the seed is the system's. */
export const systemRandom = {
  below: (n: number): number => Number(randomPool.next() % BigInt(n)),
};

/** One call to the system gives many numbers: it costs more than the numbers do. */
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

const randomPool = new RandomPool();
