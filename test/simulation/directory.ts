/** The path of a member's data directory in a run, and sizes so small that every run reaches their limits. */
import type { WalOptions } from "../../src/storage/options";
import type { Member } from "./member";

export const DATA_DIR = "/data";

export function walOptions({ world, clock }: Member): WalOptions {
  return {
    segmentBytes: world.profile.segmentBytes,
    growBytes: 4096,
    reserveBytes: 2048,
    hardStateReserveBytes: 512,
    clock,
  };
}
