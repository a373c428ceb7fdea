/**
 * Faults at the first start of a cluster: a founder starts later than the others, and soon after its first start a founder
 * loses its data directory while others are down. Whatever was acknowledged must stay: the product must not form a second
 * majority beside the first (docs/adr/0016-met-instances.md).
 */
import type { Host } from "./host";
import type { World } from "./world";

/** Starts the founders, some of them late, and in some runs wipes one of them at birth. */
export function startFounders(world: World): void {
  const { hosts, random, scheduler, nobody, coverage } = world;
  const wipes = world.has("wipe") && hosts.length >= 3 && random.chance(0.15);
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
