/**
 * A leader that is cut off goes on appending, until another one has committed an entry of a later term. Then the first one
 * comes back and the other is gone: the longer log is not the newer one, and must not win.
 */
import { insideOf } from "./checkers";
import { healLater, isolate } from "./faults_joint";
import type { Member } from "./member";
import type { World } from "./world";

const LOOK_MS = 20;
const LOOKS_MAX = 200;

export function overtake(world: World): void {
  const { hosts, coverage, scheduler, nobody } = world;
  const old = hosts.find(({ running }) => running?.replica.isLeader === true);
  if (old?.running == null || old.running.replica.status().confState.voters.length < 3) return;
  coverage.add("leader cut off until it is overtaken");
  const { term } = old.running.replica;
  isolate(world, old);
  let looks = 0;
  const look = (): void => {
    if (world.healing) return;
    const next = hosts.find(({ running }) => running !== null && hasCommitted(running, term))?.running;
    if (next != null) comeBack(world, next);
    else if (++looks < LOOKS_MAX) scheduler.after(LOOK_MS * 1000, "fault", nobody, look);
    else world.network.heal();
  };
  scheduler.after(LOOK_MS * 1000, "fault", nobody, look);
}

/** Whether the member leads a later term, and an entry of it is committed. */
function hasCommitted(member: Member, term: number): boolean {
  if (!member.replica.isLeader || member.replica.term <= term) return false;
  const { log } = insideOf(member);
  return log.term(log.committed) === member.replica.term;
}

function comeBack(world: World, next: Member): void {
  const { network, random, profile, coverage } = world;
  coverage.add("overtaken leader back without its successor");
  network.heal();
  const awayMs = random.between(3, 8) * profile.electionMs;
  if (random.chance(0.4)) next.host.crash("power", awayMs);
  else {
    isolate(world, next.host);
    healLater(world, awayMs);
  }
}
