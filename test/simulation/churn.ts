/**
 * Operators: change who is in the cluster, all the time. Members are added (their machines waiting to join, or started
 * later), promoted, replaced, removed (the leader too), moved to another peer URL; leadership is handed over.
 */
import type { MemberRecord } from "../../src/roster/index";
import { Role } from "../../src/raft/index";
import { insideOf } from "./checkers";
import type { Clients } from "./clients";
import { Host } from "./host";
import type { Member } from "./member";
import type { World } from "./world";

/** Machines of a run, those that ended included. */
const HOSTS_MAX = 30;

export class Churn {
  stopped = false;
  private nextPort = 8000;

  constructor(
    private readonly world: World,
    private readonly clients: Clients,
  ) {}

  start(): void {
    const { scheduler, random, profile, nobody } = this.world;
    scheduler.after(random.below(2 * profile.churnMs * 1000), "churn", nobody, () => {
      if (this.stopped) return;
      this.act();
      this.start();
    });
  }

  private act(): void {
    const { world } = this;
    const { random } = world;
    const informed = this.informed();
    if (informed === null) return;
    const members = informed.node.roster.members();
    const choice = random.below(100);
    if (choice < 20) {
      if (world.has("transfer")) this.transfer(informed, members);
      return;
    }
    if (!world.has("churn")) return;
    if (choice < 45) {
      if (members.length < world.profile.membersMax) this.add(members, random.chance(0.45));
      else this.remove(informed, members);
    } else if (choice < 60) this.promote(members);
    else if (choice < 75) this.remove(informed, members);
    else if (choice < 88) {
      if (world.has("replace")) this.replace(members);
    } else this.move(members);
  }

  /** The running member whose roster is newest. */
  private informed(): Member | null {
    let best: Member | null = null;
    for (const host of this.world.hosts) {
      const { running } = host;
      if (running !== null && (best === null || running.node.applied > best.node.applied)) best = running;
    }
    return best;
  }

  private add(members: readonly MemberRecord[], learner: boolean): void {
    const host = this.newcomer(members);
    if (host === null) return;
    const { name, peerUrl } = host;
    this.clients.write({ rpc: "AddMember", name, peerUrl, learner }, (reason) => {
      if (reason === null) this.world.coverage.add(learner ? "learner added" : "member added");
      else this.refused(reason);
      // Its machine may be started only now.
      host.start();
    });
  }

  private promote(members: readonly MemberRecord[]): void {
    const learner = this.world.random.pick(members.filter((member) => member.learner && member.started));
    if (learner === null) return;
    this.clients.write({ rpc: "PromoteMember", name: learner.name }, (reason) => {
      if (reason === null) this.world.coverage.add("learner promoted");
      else this.refused(reason);
    });
  }

  private remove(informed: Member, members: readonly MemberRecord[]): void {
    const { random, coverage, profile } = this.world;
    const target = this.victim(informed, members);
    if (target === null || (members.length <= profile.voters - 1 && !random.chance(0.3))) return;
    const led = target.id === informed.node.leader;
    this.clients.write({ rpc: "DeleteMember", name: target.name }, (reason) => {
      if (reason !== null) this.refused(reason);
      else coverage.add(led ? "leader removed" : "member removed");
    });
  }

  /** Rather one that is broken for good; often the leader. */
  private victim(informed: Member, members: readonly MemberRecord[]): MemberRecord | null {
    const { random, hosts } = this.world;
    const dead = members.filter((member) => hosts.some((host) => host.id === member.id && host.ended));
    if (dead.length > 0 && random.chance(0.7)) return random.pick(dead);
    const leader = members.find((member) => member.id === informed.node.leader);
    return leader !== undefined && random.chance(0.3) ? leader : random.pick(members);
  }

  private replace(members: readonly MemberRecord[]): void {
    const target = this.world.random.pick(members);
    const host = this.newcomer(members);
    if (target === null || host === null) return;
    host.start();
    const body = {
      rpc: "ReplaceMember",
      name: target.name,
      newName: host.name,
      peerUrl: host.peerUrl,
    } as const;
    this.clients.write(body, (reason) => {
      if (reason === null) this.world.coverage.add("member replaced");
      else this.refused(reason);
    });
  }

  private move(members: readonly MemberRecord[]): void {
    const { random, hosts, coverage } = this.world;
    const target = random.pick(members.filter((member) => member.started));
    const host = hosts.find(({ id }) => id === target?.id);
    if (target === null || host === undefined) return;
    const peerUrl = `http://${host.address}:${this.nextPort++}`;
    this.clients.write({ rpc: "UpdateMember", name: target.name, id: target.id, peerUrl }, (reason) => {
      if (reason === null) coverage.add("peer URL updated");
      else this.refused(reason);
    });
  }

  private transfer(informed: Member, members: readonly MemberRecord[]): void {
    const { random, hosts, coverage } = this.world;
    const target = random.pick(members);
    const leader = hosts.find(({ id }) => id === informed.node.leader)?.running ?? informed;
    if (target === null) return;
    if (insideOf(leader).role === Role.Leader) coverage.add("transfer asked for");
    leader.node.transferLeader(target.id);
  }

  /** As the faults end: to somebody who may be down, and get the order too late or never. */
  lastTransfer(): void {
    const { random, hosts } = this.world;
    const informed = this.informed();
    if (informed === null || !this.world.has("transfer") || !random.chance(0.4)) return;
    const down = hosts.filter(
      (host) => host.running === null && informed.node.roster.member(host.id) !== null,
    );
    const leader = hosts.find(({ id }) => id === informed.node.leader)?.running;
    const target = random.pick(down);
    if (target !== null) leader?.node.transferLeader(target.id);
  }

  private refused(reason: string): void {
    if (reason !== "OUTCOME_UNKNOWN") this.world.coverage.add("membership change refused");
  }

  /** A machine that waits to join, or a new one; its name may be that of a removed member. */
  private newcomer(members: readonly MemberRecord[]): Host | null {
    const { world } = this;
    const { random, hosts } = world;
    const listed = new Set(members.map(({ name }) => name));
    const waiting = hosts.filter((host) => host.member?.phase === "joining" && !listed.has(host.name));
    const again = random.pick(waiting);
    if (again !== null && (waiting.length > 2 || random.chance(0.7))) return again;
    if (hosts.length >= HOSTS_MAX) return again;
    const number = hosts.length;
    const reusable = hosts.filter((host) => host.ended && !listed.has(host.name));
    const name = random.chance(0.3) ? random.pick(reusable)?.name : undefined;
    const host = new Host(world, number, name ?? `n${number + 1}`, false);
    hosts.push(host);
    if (random.chance(0.8)) host.start();
    return host;
  }
}
