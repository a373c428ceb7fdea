/**
 * Canonical bytes for hashing: every part is preceded by its length, so that two different lists of parts never give the
 * same bytes.
 *
 * Pure. Used for ids and request fingerprints; both are compared across members and versions, so the layout
 * (4-byte big-endian length, then the bytes; strings as UTF-8) is part of the contract between them.
 */

/** SHA-256 of `bytes`, 32 bytes long. Passed in as an argument, so that this layer imports no crypto package. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array;

const encoder = new TextEncoder();

/** All parts joined, each preceded by its length. */
export function joinParts(parts: readonly (string | Uint8Array)[]): Uint8Array {
  const encoded = parts.map((part) => (typeof part === "string" ? encoder.encode(part) : part));
  const joined = new Uint8Array(encoded.reduce((size, part) => size + 4 + part.length, 0));
  const view = new DataView(joined.buffer);
  let offset = 0;
  for (const part of encoded) {
    view.setUint32(offset, part.length);
    joined.set(part, offset + 4);
    offset += 4 + part.length;
  }
  return joined;
}

/** `value` as 8 bytes, big endian. */
export function uint64Bytes(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** Whether both hold the same bytes. Not constant-time: nothing secret is compared here. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}

/**
 * FNV-1a, 64 bits, as 16 hex digits (draft-eastlake-fnv). Detects states that differ by mistake; not collision-resistant
 * against an attacker.
 *
 * The 64-bit product with the prime 2^40 + 0x1b3 is taken in two 32-bit halves: every intermediate value stays below
 * 2^53, and `>>> 0` reduces it modulo 2^32.
 */
export function fnv1a64(bytes: Uint8Array): string {
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (const byte of bytes) {
    low = (low ^ byte) >>> 0;
    const product = low * 0x1b3;
    high = (high * 0x1b3 + Math.floor(product / 0x1_0000_0000) + low * 0x100) >>> 0;
    low = product >>> 0;
  }
  return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
}
