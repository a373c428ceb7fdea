/**
 * A data directory that is in use twice: a copy of it is taken, the original starts anew and publishes that start, and then
 * a second machine starts from the copy, with the same name. The copy must be refused: it is never published, and ends.
 *
 * The copy is started only when every other member is sure to know of the original's last start (its roster has it, and a
 * snapshot covers it): a member that does not know it can't tell the copy from the original.
 */
import type { SimDir } from "./disk";
import { copyOf, hasOldData, putBack } from "./faults_old_copy";
import { Host } from "./host";
import type { World } from "./world";

const LOOK_MS = 300;
const LOOKS_MAX = 60;

export function copyDirectory(world: World): void {
  const { hosts, random, coverage } = world;
  if (hasOldData(world)) return;
  copyOneBootBehind(world, (original, copy, boots) => {
    if (hasOldData(world)) return;
    coverage.add("copy of a directory started");
    const twin = new Host(world, hosts.length, original.name, false);
    twin.copyOf = original;
    twin.bootsCopied = boots;
    twin.disk.root = copy;
    twin.directorySeen = true;
    twin.id = original.id;
    hosts.push(twin);
    twin.start();
    // While the original is heard, nobody lets the copy in.
    const away = random.chance(0.8);
    if (away) original.crash("kill", random.between(3000, 9000));
    if (!away || random.chance(0.4)) return;
    // The others forget what they had heard of it in this life; only the boot id in their rosters tells the copy apart.
    coverage.add("copy met by members that restarted");
    for (const host of hosts)
      if (host !== twin && host !== original && host.member !== null)
        host.crash("kill", random.between(20, 200));
  });
}

/** The same with the copy in the original's own place, as when a virtual machine goes back to a snapshot. */
export function olderBoot(world: World): void {
  if (hasOldData(world)) return;
  copyOneBootBehind(world, (original, copy, boots) => {
    if (hasOldData(world)) return;
    // The others must have a quorum without it: what it acknowledged is gone with its directory.
    const leader = world.hosts.find(({ running }) => running?.replica.isLeader === true)?.running;
    const config = leader?.replica.status().confState;
    if (config === undefined || config.voters.length < 3 || config.votersOutgoing.length > 0) return;
    if (leader?.host === original) return;
    world.coverage.add("copy of an earlier start put back");
    putBack(world, original, copy);
    original.bootsCopied = boots;
  });
}

/** Copies a member's directory, and calls `act` once the member has started again and every other one knows of that start. */
function copyOneBootBehind(
  world: World,
  act: (original: Host, copy: SimDir, boots: readonly string[]) => void,
): void {
  const { hosts, random, scheduler, nobody } = world;
  const able = hosts.filter(
    ({ running, publishedAt, wiped, rolledBack }) =>
      running?.replica.isLeader === false &&
      publishedAt !== null &&
      !wiped &&
      !rolledBack &&
      // Nobody but another voter can tell the two apart.
      running.replica.status().confState.voters.length > 1,
  );
  const original = random.pick(able);
  const claim = original?.running?.cluster?.boots?.claim;
  if (original === null || claim === undefined) return;
  const copied = [claim.bootId, ...claim.previousBootIds].map(hexOf);
  const copy = copyOf(original.disk.root);
  const { lastIndex } = original.durable;
  const members = original.running?.replica.roster.members().map(({ id }) => id) ?? [];
  original.crash("kill", 50);
  let looks = 0;
  const look = (): void => {
    if (world.healing || original.ended || original.rolledBack || original.wiped || ++looks > LOOKS_MAX)
      return;
    if (isKnownEverywhere(world, original, { copied, lastIndex, members })) act(original, copy, copied);
    else scheduler.after(LOOK_MS * 1000, "fault", nobody, look);
  };
  scheduler.after(LOOK_MS * 1000, "fault", nobody, look);
}

/**
 * The copies are taken away when the faults end. An older start that is still refused too: by its own roster it may have
 * too few others to end by itself.
 */
export function removeCopies(world: World): void {
  for (const host of world.hosts) {
    if (host.copyOf === null && !host.rolledBack) continue;
    host.ended = true;
    host.crash("kill");
  }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/**
 * Whether every member knows of the original's last start, which is one after the copy was taken: its boot id is none of the
 * copy's, and it was published after the last entry of the copy's log. Another id alone may be an older one, which the copy
 * has forgotten; a later publish alone may be of a start that the copy has.
 *
 * @param copy members: those of the copy's roster: one that was removed meanwhile, and does not know it, may still vote there
 */
function isKnownEverywhere(
  world: World,
  original: Host,
  copy: {
    readonly copied: readonly string[];
    readonly lastIndex: number;
    readonly members: readonly bigint[];
  },
): boolean {
  const known = original.running?.replica.roster.members();
  const present = known?.find(({ id }) => id === original.id);
  if (known === undefined || present === undefined) return false;
  if (present.bootRevision <= copy.lastIndex || copy.copied.includes(hexOf(present.bootId))) return false;
  return [...copy.members, ...known.map(({ id }) => id)].every((id) => {
    if (id === original.id) return true;
    const running = world.hosts.find((host) => host.id === id && host.copyOf === null)?.running;
    const record = running?.replica.roster.member(original.id);
    // One that is far behind knows an earlier start, which the copy has forgotten.
    if (record == null || record.bootId.length === 0 || hexOf(record.bootId) !== hexOf(present.bootId))
      return false;
    return (running?.storage.snapshot()?.meta.index ?? 0) >= record.bootRevision;
  });
}
