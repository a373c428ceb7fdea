/** Opens what a data directory says of this member's starts and of the members that it met (storage/member_files.ts). */
import type { Log } from "../base/log";
import type { Random } from "../base/random";
import { Boots } from "../cluster/boots";
import type { MetStore } from "../cluster/peer_identity";
import type { StorageFs } from "../storage/fs";
import { readBoots, readMet, writeBoots, writeMet } from "../storage/member_files";

interface OpenIdentity {
  readonly boots: Boots;
  readonly metStore: MetStore;
}

/**
 * Draws the boot id of this start, and writes it. The directory's lock must be held, and nothing may be sent before.
 *
 * @throws DataDirError
 */
export async function openIdentity(
  fs: StorageFs,
  dir: string,
  random: Random,
  log: Log,
): Promise<OpenIdentity> {
  const initial = await readMet(fs, dir);
  const store = {
    read: () => readBoots(fs, dir),
    write: (record: Parameters<typeof writeBoots>[2]) => writeBoots(fs, dir, record),
  };
  const boots = await Boots.begin(store, random, log);
  return { boots, metStore: { initial, write: (met) => writeMet(fs, dir, met) } };
}
