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
  const { random, coverage, network, profile, hosts } = world;
  const { voters, votersOutgoing } = member.replica.status().confState;
  if (votersOutgoing.length === 0) return;
  const ids = new Set([member.host.id, ...voters.filter((id) => !votersOutgoing.includes(id))]);
  for (const id of voters) if (2 * ids.size <= voters.length) ids.add(id);
  coverage.add("joint configuration split");
  // A machine that waits to join has no id yet.
  const side = new Set([...ids].map((id) => hostOf(world, member, id)));
  for (const a of hosts) {
    // Often the replaced member is one that is down, without which the outgoing half has no majority.
    if (votersOutgoing.includes(a.id)) a.start();
    for (const b of hosts) if (side.has(a) !== side.has(b)) network.block(a, b);
  }
  if (random.chance(0.6)) member.host.crash("kill", random.between(20, 200));
  healLater(world, random.between(5, 14) * profile.electionMs);
}

function hostOf(world: World, { replica }: Member, id: bigint): Host | null {
  const url = replica.roster.member(id)?.peerUrls[0] ?? "";
  return world.hosts.find((host) => host.id === id && host.copyOf === null) ?? world.hostAt(url);
}

/** The next member that applies a change loses its power at once: it must not come back with the configuration before. */
export function losePowerAfterChange(world: World): void {
  const { moments, scheduler, random, coverage, nobody } = world;
  moments.arm("reconfiguration", ({ host }) => {
    scheduler.after(random.chance(0.5) ? 0 : random.below(2000), "fault", nobody, () => {
      if (world.healing || host.member === null) return;
      coverage.add("power lost after a change was applied");
      host.crash("power", random.between(20, 200));
    });
  });
}

/**
 * The leader that proposes the next membership change, or that enters the next joint configuration, is lost with it: it
 * crashes, or hears nobody any more, so that others have the change and it does not learn so.
 */
export function interruptChange(world: World): void {
  const { moments, scheduler, random, coverage, nobody, profile, network, hosts } = world;
  const isJoint = random.chance(0.4);
  const crashes = random.chance(0.5);
  const delayUs = crashes ? random.below(2 * profile.delayUsMax + 2 * profile.syncUs) : 0;
  moments.arm(isJoint ? "joint" : "proposed", ({ host }) => {
    scheduler.after(delayUs, "fault", nobody, () => {
      if (world.healing || host.running?.replica.isLeader !== true) return;
      coverage.add("leader interrupted in a change");
      if (crashes) {
        host.crash(random.chance(0.5) ? "power" : "kill", random.between(20, 4 * profile.electionMs));
        return;
      }
      for (const other of hosts) if (other !== host) network.block(other, host);
      healLater(world, random.between(2, 5) * profile.electionMs);
    });
  });
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
