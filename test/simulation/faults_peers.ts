/**
 * Members that say what is not true, because they are broken, stale or forged. What each of them alone may do is
 * bounded: no healthy member ends by it, unless it can't know who of the two is right.
 */
import { EMPTY_BYTES, EntryType, MessageType, newMessage } from "../../src/raft/index";
import type { Host } from "./host";
import type { Member } from "./member";
import { Violation } from "./violation";
import type { World } from "./world";

/** How much each heartbeat claims above the last one. */
const LEAP = 2 ** 20;
const LEAPS = 4000;

/** Draws one of them. */
export function peerLies(world: World): void {
  const kind = world.random.below(10);
  if (kind < 3) staleVerdicts(world);
  else if (kind < 5) leapingTerms(world);
  else if (kind < 7) otherEntry(world);
  else otherRoster(world);
}

/** One member refuses all others for a while, as an old restore of it would. Always the same one in a run. */
function staleVerdicts(world: World): void {
  const { random, scheduler, coverage, nobody } = world;
  const known = world.hosts.find(({ stale: isStale }) => isStale);
  const stale = known ?? random.pick(world.hosts.filter(({ running }) => running !== null));
  const reason = random.pick(["MEMBER_WIPED", "MEMBER_REMOVED", "MEMBER_ROLLED_BACK"]);
  if (stale === null || reason === null) return;
  stale.stale = true;
  // Of two voters one is believed when it says that the other was removed, and the other's own log holds a removal.
  const enough = reason === "MEMBER_REMOVED" ? 2 : 1;
  coverage.add("stale member refuses others");
  for (let i = 0; i < 3; i++) {
    scheduler.after(random.below(1_000_000), "fault", nobody, () => {
      if (world.healing) return;
      for (const { running } of world.hosts)
        if (running !== null && running.host !== stale && votersOf(running) > enough)
          running.heardRefusal(stale.id, reason, "says a stale member");
    });
  }
}

/** A member whose roster lists a single voter believes that one: it is the majority. */
function votersOf({ replica }: Member): number {
  return replica.roster.members().filter(({ learner }) => !learner).length;
}

/** Heartbeats in the name of a member, each in a term far above the last. */
function leapingTerms(world: World): void {
  const { random, coverage } = world;
  const [to, from] = [random.pick(world.hosts), random.pick(world.hosts)];
  const member = to?.running ?? null;
  if (member === null || from === null || from.id === 0n || from === to) return;
  if (member.replica.roster.member(from.id) === null || world.hosts.some(({ leapt }) => leapt)) return;
  coverage.add("heartbeats in leaping terms");
  member.host.leapt = true;
  const { id, term } = member.replica;
  const beats = Array.from({ length: LEAPS }, (_, i) =>
    newMessage(MessageType.Heartbeat, id, from.id, term + (i + 1) * LEAP),
  );
  member.replica.receive(from.id, beats);
}

/** The leader's log has another entry at an index that a follower has committed. */
function otherEntry(world: World): void {
  const victim = oneThatCanBeSpared(world);
  if (victim === null) return;
  const { replica, storage } = victim;
  // It would drop the entry without a look.
  if (!replica.hasSpace) return;
  const { committed, leader, term } = replica;
  const own = storage.entries(committed, committed + 1, Infinity);
  const [entry] = typeof own === "string" ? [] : own;
  const before = storage.term(committed - 1);
  if (entry === undefined || typeof before !== "number" || before === 0) return;
  // Bytes that are no command are refused where they arrive; an entry without any is a leader's first one.
  if (entry.type === EntryType.Normal && entry.data.length === 0) return;
  world.coverage.add("append with other bytes");
  world.note(`${victim.label} gets another entry ${entry.term}/${committed}`);
  victim.host.mustEnd = true;
  const m = newMessage(MessageType.Append, replica.id, leader, term);
  Object.assign(m, {
    index: committed - 1,
    logTerm: before,
    commit: committed,
    entries: [{ ...entry, type: EntryType.Normal, confChange: null, data: EMPTY_BYTES }],
  });
  replica.receive(leader, [m]);
  if (victim.alive && victim.host.ended) return;
  world.fail(new Violation("ends_rightly", `${victim.label} goes on with an entry that is not the leader's`));
}

/** A follower's roster is not what its digest says: as different for the leader as the roster itself. */
function otherRoster(world: World): void {
  const victim = oneThatCanBeSpared(world);
  const digests = victim?.cluster?.rosterMachine.roster.digests ?? null;
  if (victim === null || digests === null) return;
  world.coverage.add("roster that differs");
  world.note(`${victim.label} has another roster`);
  victim.host.mustEnd = true;
  victim.host.otherDigests = digests;
  digests["sum"] += 1n;
  // If it leads before it hears the leader's digest, those of the others would be the wrong ones.
  victim.replica.listen({
    onLeadership: () => {
      if (!victim.replica.isLeader || victim.host.otherDigests !== digests) return;
      digests["sum"] -= 1n;
      victim.host.otherDigests = null;
      victim.host.mustEnd = false;
    },
  });
}

/** A follower without which the others have a quorum; one for each run. */
function oneThatCanBeSpared(world: World): Member | null {
  const { hosts, random } = world;
  if (hosts.some(({ mustEnd }) => mustEnd)) return null;
  const leader = hosts.find(({ running }) => running?.replica.isLeader === true)?.running ?? null;
  if (leader === null) return null;
  const { voters, votersOutgoing } = leader.replica.status().confState;
  const runs = (id: bigint): boolean => hosts.some((host) => host.id === id && host.running !== null);
  if (votersOutgoing.length > 0 || voters.length < 3 || !voters.every(runs)) return null;
  const follows = ({ running, id }: Host): boolean =>
    running !== null &&
    running !== leader &&
    voters.includes(id) &&
    running.replica.leader === leader.replica.id &&
    running.replica.term === leader.replica.term &&
    running.replica.roster.member(leader.replica.id) !== null;
  return random.pick(hosts.filter(follows))?.running ?? null;
}
