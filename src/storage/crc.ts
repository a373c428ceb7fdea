/** CRC-32 that chains over any bytes. */
import { crc32 } from "node:zlib";

/**
 * CRC-32 of `bytes`, continued from `start`.
 *
 * Node 20's crc32 answers 0, not `start`, for an empty view whose buffer holds no memory at all, though it is right for
 * other empty views: what was written and what is read would not agree.
 */
export function chainCrc(bytes: Uint8Array, start = 0): number {
  return bytes.length === 0 ? start : crc32(bytes, start);
}
