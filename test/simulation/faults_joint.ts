/** Faults in the midst of a membership change: the two majorities of a joint configuration, and a removed member. */
import type { Host } from "./host";
import type { Member } from "./member";
import type { World } from "./world";

/**
 * When the next member, mostly the leader, enters a joint configuration, it is cut off together with so many others that
 * they are a majority of the incoming half alone. The rest, often a majority of the outgoing half, has not entered it yet.
 */
export function splitJoint(world: World): void {
  const { moments, scheduler, random, nobody, profile } = world;
  const delayUs = random.chance(0.6) ? 0 : random.below(2 * profile.delayUsMax);
  moments.arm("joint", (member) => {
    scheduler.after(delayUs, "fault", nobody, () => {
      if (!world.healing && member.alive) split(world, member);
    });
  });
}

function split(world: World, member: Member): void {
  const { network, random, coverage, profile, hosts } = world;
  const { voters, votersOutgoing } = member.replica.status().confState;
  if (votersOutgoing.length === 0) return;
  const side = new Set([member.host.id, ...voters.filter((id) => !votersOutgoing.includes(id))]);
  for (const id of voters) if (2 * side.size <= voters.length) side.add(id);
  coverage.add("joint configuration split");
  for (const a of hosts) {
    for (const b of hosts) {
      if (a.id === 0n || b.id === 0n || side.has(a.id) === side.has(b.id)) continue;
      network.block(a, b);
    }
  }
  if (random.chance(0.6)) member.host.crash("kill", random.between(20, 200));
  healLater(world, random.between(3, 10) * profile.electionMs);
}

/** The next member that applies its own removal is cut off, so that the others may not know yet that it is committed. */
export function cutOffRemoved(world: World): void {
  const { moments, coverage, random, profile } = world;
  moments.arm("own removal", ({ host }) => {
    if (world.healing) return;
    coverage.add("removed member cut off");
    isolate(world, host);
    healLater(world, random.between(2, 6) * profile.electionMs);
  });
}

export function isolate({ hosts, network }: World, host: Host): void {
  for (const other of hosts) {
    if (other === host) continue;
    network.block(host, other);
    network.block(other, host);
  }
}

export function healLater({ scheduler, nobody, network }: World, afterMs: number): void {
  scheduler.after(afterMs * 1000, "heal", nobody, () => network.heal(), "network");
}
