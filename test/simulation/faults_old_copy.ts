/**
 * An older copy of a data directory put back in its place, as when a virtual machine goes back to a snapshot. The worst
 * allowed is that the member stops, or is refused, and that somebody says why.
 *
 * Restricted to what a leader must notice by itself: the same leader leads the same term, and has an acknowledgement of
 * this member for entries that the copy lacks. The others alone hold all of them on a quorum, the configuration is still
 * the one of the copy, and the member has given no other vote: so nothing that was promised is lost when it is noticed
 * late, or the leader changes before.
 */
import { SimDir, SimFile } from "./disk";
import { DurableLog } from "./durable_log";
import type { Host } from "./host";
import type { Member } from "./member";
import { isMajority } from "./record";
import type { World } from "./world";

interface Copy {
  readonly root: SimDir;
  readonly term: number;
  readonly vote: bigint;
  readonly lastIndex: number;
  readonly config: string;
}

/** A member crashes, its directory is copied, and some time after its return the copy takes the directory's place. */
export function oldCopy(world: World): void {
  const { random, scheduler, nobody } = world;
  const leader = leaderOf(world);
  const host = random.pick(world.hosts.filter((other) => isFollower(other, leader)));
  if (leader === null || host === null || hasOldData(world)) return;
  const config = configOf(leader);
  host.crash("kill", random.between(10, 60));
  const { durable } = host;
  const { term, vote, lastIndex } = durable;
  const copy = { root: copyOf(host.disk.root), term, vote, lastIndex, config };
  let tries = 20;
  const later = (): void => {
    scheduler.after(random.between(100, 400) * 1000, "fault", nobody, () => {
      if (world.healing || host.durable !== durable || host.ended || hasOldData(world) || tries-- === 0)
        return;
      const leads = leaderOf(world);
      if (leads !== null && mustBeNoticed(world, host, copy, leads)) {
        world.coverage.add("older copy put back");
        putBack(world, host, copy.root);
      } else later();
    });
  };
  later();
}

/**
 * Whether a member runs, or may run, from old data. Only one at a time: with two of three voters a majority would have
 * lost what it acknowledged, and no member could know.
 */
export function hasOldData({ hosts }: World): boolean {
  return hosts.some(({ copyOf, rolledBack }) => copyOf !== null || rolledBack);
}

/** The machine crashes, and starts again with the copy as its directory. */
export function putBack(world: World, host: Host, root: SimDir): void {
  world.note(`${host.label} goes back to an older copy`);
  host.rolledBack = true;
  host.crash("kill", world.random.between(10, 100));
  host.disk.root = root;
  host.lost = host.durable;
  host.durable = new DurableLog();
}

function leaderOf(world: World): Member | null {
  return world.hosts.find(({ running }) => running?.replica.isLeader === true)?.running ?? null;
}

function configOf(leader: Member): string {
  const { voters, learners, votersOutgoing } = leader.replica.status().confState;
  return [voters, learners, votersOutgoing].map((ids) => ids.join()).join("|");
}

function isFollower(host: Host, leader: Member | null): boolean {
  if (host.running === null || leader === null || host.ended || host.wiped) return false;
  return host.running !== leader && leader.replica.status().confState.voters.includes(host.id);
}

function mustBeNoticed(world: World, host: Host, copy: Copy, leader: Member): boolean {
  const { durable } = host;
  if (!isFollower(host, leader) || host.damaged !== null || configOf(leader) !== copy.config) return false;
  if (durable.term !== copy.term || durable.vote !== copy.vote || leader.replica.term !== copy.term)
    return false;
  const { progress, confState } = leader.replica.status();
  if ((progress.get(host.id)?.match ?? 0) <= copy.lastIndex || confState.votersOutgoing.length > 0)
    return false;
  const last = durable.lastIndex;
  const holds = (id: bigint): boolean =>
    world.hosts.some(
      (other) => other !== host && other.id === id && other.durable.holds(last, durable.termAt(last)),
    );
  return isMajority(confState.voters, holds);
}

/** A copy of a directory as a process sees it now; all of it is on the copy's disk. */
export function copyOf(dir: SimDir): SimDir {
  const copy = new SimDir();
  for (const [name, node] of dir.names) {
    if (node instanceof SimDir) copy.change({ kind: "link", name, node: copyOf(node) });
    else {
      const file = new SimFile();
      file.complete(file.issue(0, Buffer.from(node.data.view())));
      file.synced(file.covered());
      copy.change({ kind: "link", name, node: file });
    }
  }
  copy.synced(copy.changes);
  return copy;
}
