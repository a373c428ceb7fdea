/**
 * Faults at the first start of a cluster: a founder starts later than the others, and soon after its first start a founder
 * loses its data directory while others are down. Whatever was acknowledged must stay: the product must not form a second
 * majority beside the first (docs/adr/0016-met-instances.md).
 */
import { DATA_DIR } from "./directory";
import { healLater, isolate } from "./faults_joint";
import type { Host } from "./host";
import type { Member } from "./member";
import type { World } from "./world";

/** Starts the founders, some of them late, and in some runs wipes one of them at birth. */
export function startFounders(world: World): void {
  const { hosts, random, scheduler, nobody, coverage } = world;
  const often = world.profile.focus === "birth";
  if (often && world.has("wipe") && hosts.length >= 3 && random.chance(0.6)) {
    for (const host of hosts) host.start();
    wipeBesideLaggards(world);
    if (random.chance(0.3)) meetingNotWritten(world);
    return;
  }
  const wipes = world.has("wipe") && hosts.length >= 3 && random.chance(often ? 1 : 0.15);
  const last = hosts.at(-1);
  const late = last !== undefined && hosts.length > 1 && random.chance(wipes ? 0.6 : 0.15) ? last : null;
  for (const host of hosts) if (host !== late) host.start();
  if (!wipes) {
    if (late === null) return;
    coverage.add("founder starts late");
    scheduler.after(random.between(100, 4000) * 1000, "lifecycle", late, () => late.start(), "late start");
    return;
  }
  // With all founders there the cluster forms within a second; a moment later its first leader has its first writes.
  const afterMs = random.between(late === null ? 100 : 1500, late === null ? 3000 : 4000);
  scheduler.after(afterMs * 1000, "fault", nobody, () => {
    wipeAtBirth(world, late);
  });
}

/** One founder loses its data directory, others are down for a while, and one may start for the first time. */
function wipeAtBirth(world: World, late: Host | null): void {
  const { hosts, random, scheduler, coverage } = world;
  if (world.healing || hosts.some(({ wiped }) => wiped)) return;
  const able = hosts.filter(
    (host) => host !== late && host.founder && host.member !== null && host.moves === 0,
  );
  const lost = random.pick(able);
  if (lost === null || lost.ended) return;
  coverage.add("founder wiped at birth");
  const all = random.chance(0.4);
  for (const host of able) {
    if (host === lost) continue;
    // Down for longer than the others need to elect a leader, or for a moment.
    if (all) host.crash("power", random.between(10, 200));
    else if (random.chance(0.5)) host.crash("kill", random.between(2000, 6000));
  }
  lost.crash("power", random.between(20, 100));
  lost.wipe();
  if (late !== null)
    scheduler.after(random.between(20, 300) * 1000, "lifecycle", late, () => late.start(), "late start");
}

/** For a while no member can write whom it met: it must take nothing from them, or it could forget whom it believed. */
function meetingNotWritten({ hosts, random, scheduler, nobody, coverage }: World): void {
  coverage.add("meeting not written");
  for (const { disk } of hosts) disk.unopenable = MET_TEMPORARY;
  scheduler.after(random.between(1500, 4000) * 1000, "heal", nobody, () => {
    for (const { disk } of hosts) disk.unopenable = null;
  });
}

const MET_TEMPORARY = `${DATA_DIR}/met.tmp`;
const LOOK_MS = 50;
const LOOKS_MAX = 100;

/**
 * The first leader commits its first entry with a bare majority, and one of this majority loses its directory before it is
 * published. The processes of all others end, so that only their disks know whom they met. Were the lost member to form
 * the cluster again, it would then be a majority with those that lack the entry.
 */
function wipeBesideLaggards(world: World): void {
  const { moments, hosts } = world;
  moments.arm("leader", (leader) => {
    const others = hosts.filter((host) => host !== leader.host);
    const behind = others.slice(0, Math.floor(others.length / 2));
    for (const laggard of behind) isolate(world, laggard);
    moments.arm("commit", (member) => {
      const lost = others.find((host) => !behind.includes(host));
      if (world.healing || member !== leader || lost === undefined || isPublished(leader, lost)) {
        world.network.heal();
        return;
      }
      world.scheduler.after(0, "fault", world.nobody, () => {
        wipeAfterCommit(world, lost, behind);
      });
    });
  });
}

function isPublished({ replica }: Member, { id }: Host): boolean {
  return replica.roster.member(id)?.started === true;
}

function wipeAfterCommit(world: World, lost: Host, behind: readonly Host[]): void {
  const { hosts, random, scheduler, network, nobody, coverage, profile } = world;
  if (world.healing || lost.ended || hosts.some(({ wiped }) => wiped)) return;
  coverage.add("founder wiped at birth beside members that are behind");
  const kind = random.chance(0.6) ? "power" : "kill";
  for (const host of hosts) if (host !== lost) host.crash(kind, random.between(20, 100));
  lost.crash("power", random.between(20, 100));
  lost.wipe();
  // The member that was wiped asks all of them; the others do not hear each other.
  network.heal();
  const ahead = hosts.filter((host) => host !== lost && !behind.includes(host));
  for (const a of ahead) {
    for (const b of behind) {
      network.block(a, b);
      network.block(b, a);
    }
  }
  let looks = 0;
  const look = (): void => {
    if (world.healing) return;
    if (!lost.directorySeen && !lost.ended && ++looks < LOOKS_MAX) {
      scheduler.after(LOOK_MS * 1000, "fault", nobody, look);
      return;
    }
    for (const host of ahead) isolate(world, host);
    healLater(world, random.between(3, 6) * profile.electionMs);
  };
  look();
}
