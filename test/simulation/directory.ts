/** A member's data directory in a run: where it is, and sizes so small that a run meets every boundary. */
import type { WalOptions } from "../../src/storage/options";
import type { Member } from "./member";

export const DATA_DIR = "/data";

export function walOptions({ world, clock }: Member): WalOptions {
  return {
    segmentBytes: world.profile.segmentBytes,
    growBytes: 4096,
    reserveBytes: 2048,
    hardStateReserveBytes: 512,
    setTimer: (delayMs, fire) => {
      const timer = clock.setTimeout(fire, delayMs);
      return () => {
        timer.cancel();
      };
    },
  };
}
