/** CRC-32 that can be continued over several pieces of data. */
import { crc32 } from "node:zlib";

/**
 * CRC-32 of `bytes`, continued from `start`.
 *
 * Empty input is handled here, because Node 20's crc32 returns 0 in place of `start` for an empty view of a buffer
 * without memory, and `start` for other empty views. Writer and reader could then disagree.
 */
export function chainCrc(bytes: Uint8Array, start = 0): number {
  return bytes.length === 0 ? start : crc32(bytes, start);
}
