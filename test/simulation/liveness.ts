/**
 * Liveness, checked at the end of a run, when all faults have ended and every member that can run is started. If a quorum
 * of the configuration runs, there must be a leader within ten election timeouts. After that, joint configurations are
 * left, every member catches up, a write and a linearizable read are answered, no call hangs, and logs stay as short as
 * snapshots keep them.
 */
import { Role } from "../../src/raft/index";
import type { NodeId } from "../../src/raft/index";
import { MemberTarget } from "../../src/roster/index";
import type { MemberRecord } from "../../src/roster/index";
import { insideOf } from "./checkers";
import type { Clients } from "./clients";
import type { Member } from "./member";
import { isMajority } from "./record";
import { Violation } from "./violation";
import { isAstray } from "./world";
import type { World } from "./world";

const ELECTIONS_MAX = 10;
/** Time for members to start, in virtual milliseconds. Joining members ask every 500 ms. */
const START_MS = 6000;
/** Time for everything after the election, in virtual milliseconds. One call may take 5 s and two election timeouts. */
const SETTLE_MS = 25_000;
/** The leader pauses for so many election timeouts at most after a refusal of what it does by itself; and a few to do it. */
const PAUSE_ELECTIONS_MAX = 40;
const STEWARD_OWES = "waits for the leader";
/** Entries by which a log may exceed the limit, because many may be applied in one turn before the snapshot is taken. */
const LOG_SLACK = 128;

export class Liveness {
  private phase: "starting" | "electing" | "settling" | "done" = "starting";
  private untilUs: number;
  private asked = false;
  private written = false;
  private read = false;
  private correcting = false;
  private corrections = 0;

  constructor(
    private readonly world: World,
    private readonly clients: Clients,
  ) {
    this.untilUs = world.scheduler.nowUs + START_MS * 1000;
  }

  /** Called after every event. @returns whether the run is over. @throws Violation */
  look(): boolean {
    const { scheduler, profile, coverage } = this.world;
    const late = scheduler.nowUs >= this.untilUs;
    switch (this.phase) {
      case "starting":
        if (!late) return false;
        this.phase = "electing";
        this.untilUs = scheduler.nowUs + ELECTIONS_MAX * profile.electionMs * 1000;
        return false;
      case "electing": {
        if (this.leader() !== null) {
          this.phase = "settling";
          this.untilUs = scheduler.nowUs + SETTLE_MS * 1000;
          this.ask();
          return false;
        }
        if (!late) return false;
        if (!this.hasQuorum()) return this.withoutQuorum();
        throw this.violation(`no leader ${ELECTIONS_MAX} election timeouts after the cluster was healed`);
      }
      case "settling": {
        const problem = this.unsettled();
        if (problem === null) {
          coverage.add("liveness checked");
          this.phase = "done";
          return true;
        }
        if (!late) return false;
        if (!this.hasQuorum()) return this.withoutQuorum();
        // It may have been refused a few times, and pause.
        const pauseUs = PAUSE_ELECTIONS_MAX * profile.electionMs * 1000;
        if (problem.includes(STEWARD_OWES) && scheduler.nowUs < this.untilUs + pauseUs) return false;
        throw this.violation(problem);
      }
      case "done":
        return true;
    }
  }

  private withoutQuorum(): boolean {
    this.world.coverage.add("ended without a quorum");
    this.phase = "done";
    return true;
  }

  private running(): Member[] {
    return this.world.hosts.flatMap(({ running }) => (running === null ? [] : [running]));
  }

  private leader(): Member | null {
    const running = this.running();
    const leader = running.find((member) => member.replica.isLeader) ?? null;
    if (leader === null) return null;
    const { voters, outgoing } = this.voters(leader);
    const follows = (id: NodeId): boolean =>
      running.some(
        ({ replica }) =>
          replica.id === id && replica.leader === leader.replica.id && replica.term === leader.replica.term,
      );
    return isMajority(voters, follows) && isMajority(outgoing, follows) ? leader : null;
  }

  private ask(): void {
    if (this.asked) return;
    this.asked = true;
    this.tryWrite();
    this.tryRead();
  }

  private tryWrite(): void {
    const name = this.leader()?.replica.roster.members()[0]?.name ?? this.world.hosts[0]?.name ?? "";
    this.clients.write({ rpc: "UpdateAdminURL", name, adminUrl: "http://last:1" }, (reason) => {
      // A full memory of requests refuses at once, which is an answer.
      this.written = reason === null || reason === "TOO_MANY_REQUESTS";
      if (!this.written && this.phase !== "done") this.tryWrite();
    });
  }

  private tryRead(): void {
    this.clients.read("members", (reason) => {
      this.read = reason === null;
      if (!this.read && this.phase !== "done") this.tryRead();
    });
  }

  /** The first condition that does not hold yet; null when all hold. */
  private unsettled(): string | null {
    const leader = this.leader();
    if (leader === null) return "the leader was lost again";
    if (!this.written) return "a write is not answered";
    // Before the read, which waits for as long as its caller allows at a member that the leader does not reach.
    const astray = this.astray(leader);
    if (astray !== null) {
      this.putRight(astray);
      return `the peer URL of ${astray.name} leads astray`;
    }
    if (!this.read) return "a linearizable read is not answered";
    if (this.clients.open > 0) return `${this.clients.open} calls of clients are not answered`;
    const { outgoing } = this.voters(leader);
    if (outgoing.length > 0) return "the joint configuration is not left";
    const { snapshotEvery, snapshotKeep } = this.world.profile;
    for (const member of this.running()) {
      const { replica, storage } = member;
      if (leader.replica.roster.member(replica.id) === null) continue;
      const { otherDigests } = member.host;
      if (otherDigests !== null && member.cluster?.rosterMachine.roster.digests === otherDigests)
        return `${member.label} goes on with another roster than the leader's`;
      if (replica.applied < leader.replica.committed) return `${member.label} does not catch up`;
      if (member.waiting > 0) return `${member.waiting} calls wait on ${member.label}`;
      const kept = storage.lastIndex() - storage.firstIndex() + 1;
      // After a start the log also has the older entries of whole segments, until the next snapshot drops them.
      if (member.snapshots > 0 && kept > snapshotEvery + snapshotKeep + LOG_SLACK)
        return `${member.label} keeps ${kept} entries`;
      if (replica.roster.member(replica.id)?.started !== true) return `${member.label} is not published`;
    }
    return this.world.watchers.behind() ?? this.stewardOwes(leader);
  }

  /** What the leader has to do by itself for members that run. */
  private stewardOwes(leader: Member): string | null {
    const running = new Set(this.running().map(({ replica }) => replica.id));
    const { roster } = leader.replica;
    const { voters } = this.voters(leader);
    for (const { id, name, learner, target, replaces } of roster.members()) {
      if (!running.has(id)) continue;
      // Without the old one, which may run, the others must be a quorum.
      const after = [...voters.filter((voter) => voter !== replaces && voter !== id), id];
      if (replaces !== 0n && isMajority(after, (voter) => running.has(voter)))
        return `${name} ${STEWARD_OWES}: it has not taken the place that it is to take`;
      if (replaces === 0n && learner && target === MemberTarget.UNSPECIFIED && roster.settings.autoPromote)
        return `${name} ${STEWARD_OWES}: it is no voter yet`;
    }
    return null;
  }

  /** A running member that the others do not reach at its peer URL. */
  private astray(leader: Member): MemberRecord | null {
    const running = new Set(this.running().map(({ replica }) => replica.id));
    const members = leader.replica.roster.members();
    return members.find((member) => running.has(member.id) && isAstray(this.world, member)) ?? null;
  }

  /** As the operator would, once the member answers there. */
  private putRight({ name, id }: MemberRecord): void {
    const host = this.world.hosts.find((candidate) => candidate.id === id);
    if (this.correcting || host === undefined) return;
    this.correcting = true;
    const peerUrl = `http://${host.address}:${7000 + this.corrections++}`;
    this.clients.write({ rpc: "UpdateMember", name, id, peerUrl }, (reason) => {
      this.correcting = false;
      if (reason === null) this.world.coverage.add("peer URL put right");
    });
  }

  private voters(member: Member): { voters: readonly NodeId[]; outgoing: readonly NodeId[] } {
    const { voters, votersOutgoing } = insideOf(member).tracker.config.confState();
    return { voters, outgoing: votersOutgoing };
  }

  /**
   * Whether the running members must be able to elect a leader: they are a quorum of the newest configuration that any
   * member ever applied. After the loss of a data directory, one of them must also know that configuration, because only
   * the lost directory may have had it.
   */
  private hasQuorum(): boolean {
    const { world } = this;
    const running = this.running();
    const { config } = world.checkers.record;
    if (config === null || running.length === 0) return false;
    const { voters, votersOutgoing } = config;
    // Without a leader nobody can put a peer URL right; but members whose initial-cluster has the present addresses find
    // each other, since one of two is enough to know the other's.
    const isReached = (id: NodeId): boolean =>
      running.every((member) => {
        const listed = member.replica.roster.member(id);
        if (listed === null || !isAstray(world, listed)) return true;
        const other = running.find(({ replica }) => replica.id === id);
        return other !== undefined && (knowsAddressOf(member, other) || knowsAddressOf(other, member));
      });
    const runs = (id: NodeId): boolean => running.some(({ replica }) => replica.id === id) && isReached(id);
    if (!isMajority(voters, runs) || !isMajority(votersOutgoing, runs)) return false;
    if (!world.hosts.some(({ lostData }) => lostData)) return true;
    return running.some((member) => {
      const own = this.voters(member);
      return own.voters.join() === voters.join() && own.outgoing.join() === votersOutgoing.join();
    });
  }

  private violation(problem: string): Violation {
    const members = this.running().map((member) => {
      const raft = insideOf(member);
      const { voters, outgoing } = this.voters(member);
      const config = `${voters.map(short).join(" ")} | ${outgoing.map(short).join(" ")}`;
      const at = `applied ${member.replica.applied} committed ${raft.log.committed} last ${raft.log.lastIndex()}`;
      const calls = `waiting ${member.waiting}`;
      return `${member.label} ${short(raft.id)} ${Role[raft.role]} term ${raft.term} leader ${short(raft.leader)} ${at} [${config}] ${calls}`;
    });
    return new Violation("liveness", [problem, ...members].join("\n  "));
  }
}

/** Whether the first one's initial-cluster has the address of the second. */
function knowsAddressOf({ addressesUs }: Member, { host }: Member): boolean {
  return addressesUs !== null && addressesUs > host.movedUs;
}

function short(id: NodeId): string {
  return id.toString(16).slice(0, 4);
}
