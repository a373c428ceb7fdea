/**
 * Machines that get other addresses: one of them, or all at once. The processes are stopped before, and configured with
 * the new addresses afterwards, as an operator does it. A member's configuration is all that changes: nobody calls the
 * cluster. Messages to an old address reach nobody.
 */
import type { Host } from "./host";
import type { World } from "./world";

export function moveHosts(world: World): void {
  const { hosts, random, coverage } = world;
  const able = hosts.filter((host) => host.member !== null && !host.ended && host.directorySeen);
  const all = random.chance(0.25);
  const one = random.pick(able);
  const moving: readonly Host[] = all ? able : one === null ? [] : [one];
  // A founder that has no directory yet knows the others by their first addresses, of which its id is made.
  if (moving.length === 0 || hosts.some((host) => host.founder && !host.directorySeen && !host.ended)) return;
  if (all && able.length < hosts.filter((host) => !host.ended && host.id !== 0n).length) return;
  coverage.add(all ? "every host moved" : "host moved");
  for (const host of moving) {
    host.crash("kill", random.between(50, 800));
    host.moves++;
    host.movedUs = world.scheduler.nowUs;
    world.note(`${host.label} moves to ${host.address}`);
  }
}
