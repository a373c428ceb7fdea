/**
 * The operators of a run, who change the membership all the time. Members are added (on machines that already wait to
 * join, or are started later), promoted, removed (the leader too) and given another peer URL; leadership is transferred.
 * Changes of several, replacements, settings and standbys are in churn_changes.ts.
 */
import type { MemberRecord } from "../../src/roster/index";
import { Role } from "../../src/raft/index";
import { insideOf } from "./checkers";
import type { Clients } from "./clients";
import { Host } from "./host";
import type { Member } from "./member";
import { isAstray } from "./world";
import { ChurnChanges } from "./churn_changes";
import { DRAWN_PORTS } from "./operations";
import type { Target } from "./operations";
import type { Focus } from "./profile";
import type { World } from "./world";

/** How long a successor that died stays away: long enough for the handover to fail, in virtual milliseconds. */
const DEAD_MS = 6000;
/** What new members are to become: the voters come and go by it. */
const TARGETS: readonly Target[] = ["voter", "voter", "voter", "learner", "standby", "standby"];
const ADDED: Readonly<Record<Target, "member added" | "learner added" | "standby added">> = {
  voter: "member added",
  learner: "learner added",
  standby: "standby added",
};
/** Most machines of a run, including those whose member has ended. */
const HOSTS_MAX = 30;

type Action =
  | "come back"
  | "transfer"
  | "add"
  | "promote"
  | "several"
  | "remove"
  | "replace"
  | "replace in place"
  | "cancel"
  | "settings"
  | "stay away"
  | "forbid"
  | "move";
type Weights = Readonly<Record<Action, number>>;

/** How often an operator does what. */
const WEIGHTS: Weights = {
  "come back": 4,
  transfer: 13,
  add: 25,
  promote: 10,
  several: 14,
  remove: 12,
  replace: 13,
  "replace in place": 9,
  cancel: 2,
  settings: 6,
  "stay away": 6,
  forbid: 4,
  move: 10,
};
/** The same by the focus of the run, where it makes a difference. */
const IN_FOCUS: Readonly<Partial<Record<Focus, Weights>>> = {
  membership: {
    ...WEIGHTS,
    "come back": 2,
    transfer: 8,
    add: 20,
    several: 30,
    remove: 18,
    replace: 20,
    "replace in place": 14,
    move: 3,
  },
  steward: {
    ...WEIGHTS,
    "come back": 0,
    transfer: 5,
    add: 30,
    promote: 2,
    several: 3,
    remove: 3,
    replace: 14,
    "replace in place": 8,
    cancel: 3,
    settings: 6,
    "stay away": 40,
    forbid: 10,
    move: 1,
  },
  "late attempts": {
    ...WEIGHTS,
    "come back": 0,
    transfer: 8,
    add: 40,
    promote: 4,
    several: 6,
    remove: 40,
    replace: 8,
    "replace in place": 4,
    settings: 4,
    "stay away": 0,
    move: 0,
  },
};

export class Churn {
  stopped = false;
  private nextPort = DRAWN_PORTS;
  private readonly changes: ChurnChanges;

  constructor(
    private readonly world: World,
    private readonly clients: Clients,
  ) {
    this.changes = new ChurnChanges(
      world,
      clients,
      (members) => this.newcomer(members),
      (members) => {
        this.add(members, "standby");
      },
    );
  }

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
    const { profile } = world;
    const informed = this.informed();
    if (informed === null) return;
    const members = informed.replica.roster.members();
    const action = this.draw(IN_FOCUS[profile.focus] ?? WEIGHTS);
    if (!world.has(action === "transfer" ? "transfer" : "churn")) return;
    switch (action) {
      case "come back":
        if (world.has("transfer")) this.comeBack(informed, members);
        break;
      case "transfer":
        this.transfer(informed, members);
        break;
      case "add":
        if (members.length < profile.membersMax) this.add(members);
        else this.remove(informed, members);
        break;
      case "several":
        this.changes.several(informed, members);
        break;
      case "promote":
        this.promote(members);
        break;
      case "remove":
        this.remove(informed, members);
        break;
      case "replace":
        if (world.has("replace")) this.changes.sideBySide(informed, members);
        break;
      case "replace in place":
        if (world.has("replace")) this.changes.inPlace(members);
        break;
      case "cancel":
        this.changes.cancel(members);
        break;
      case "settings":
        this.changes.settings();
        break;
      case "forbid":
        this.changes.forbid();
        break;
      case "stay away":
        if (world.has("crash")) this.changes.stayAway(informed, members);
        break;
      case "move":
        this.move(members);
        break;
    }
  }

  private draw(weights: Readonly<Record<Action, number>>): Action {
    const actions = Object.entries(weights) as [Action, number][];
    let at = this.world.random.below(actions.reduce((sum, [, weight]) => sum + weight, 0));
    return actions.find(([, weight]) => (at -= weight) < 0)?.[0] ?? "transfer";
  }

  /** The running member with the newest roster. */
  private informed(): Member | null {
    let best: Member | null = null;
    for (const host of this.world.hosts) {
      const { running } = host;
      if (running !== null && (best === null || running.replica.applied > best.replica.applied))
        best = running;
    }
    return best;
  }

  private add(members: readonly MemberRecord[], target: Target = this.someTarget()): void {
    const { random, coverage } = this.world;
    const never = random.chance(0.1);
    const host = never ? this.machine(members, false) : this.newcomer(members);
    if (host === null) return;
    const { name } = host;
    // An operator may write the URL otherwise than it is configured: both lead to the same process.
    const voters = members.filter((member) => !member.learner);
    const isOther = voters.length === 1 && random.chance(0.4);
    const peerUrl = isOther ? this.freshUrl(host.address) : host.peerUrl;
    this.clients.write({ rpc: "AddMember", name, peerUrl, target }, (reason) => {
      if (isOther && reason === null) coverage.add("joiner added at another URL");
      if (reason === null) coverage.add(never ? "member added that never starts" : ADDED[target]);
      else this.refused(reason);
      // The new member's machine may not be running yet.
      if (!never) host.start();
    });
  }

  private someTarget(): Target {
    return this.world.random.pick(TARGETS) ?? "voter";
  }

  private promote(members: readonly MemberRecord[]): void {
    const { random } = this.world;
    const learners = members.filter(({ learner }) => learner);
    const started = learners.filter((member) => member.started);
    const learner = random.pick(random.chance(0.8) ? started : learners);
    if (learner === null) return;
    this.clients.write({ rpc: "PromoteMember", name: learner.name }, (reason) => {
      if (reason === null) this.world.coverage.add("learner promoted");
      else this.refused(reason);
      if (reason === "LEARNER_NOT_READY") this.world.coverage.add("promotion refused, not ready");
    });
  }

  private remove(informed: Member, members: readonly MemberRecord[]): void {
    const { random, coverage, profile } = this.world;
    const target = this.victim(informed, members);
    const voters = members.filter(({ learner }) => !learner).length;
    if (target === null || (!target.learner && voters < profile.voters && !random.chance(0.3))) return;
    const led = target.id === informed.replica.leader;
    const dies = led && random.chance(0.5);
    if (dies) this.killSuccessor();
    this.clients.write(
      { rpc: "DeleteMember", name: target.name },
      (reason) => {
        if (reason !== null) this.refused(reason);
        else coverage.add(led ? "leader removed" : "member removed");
      },
      dies ? "long" : "any",
    );
  }

  /** The next member that a leader hands over to dies before it can take the leadership. */
  private killSuccessor(): void {
    const { moments, scheduler, nobody, hosts, coverage } = this.world;
    if (!this.world.has("crash")) return;
    moments.arm("transfer", (leader) => {
      const { leaderTransferee } = insideOf(leader);
      scheduler.after(0, "fault", nobody, () => {
        const host = hosts.find(({ id }) => id === leaderTransferee);
        if (this.world.healing || host?.running == null) return;
        coverage.add("successor died in the handover");
        host.crash("kill", DEAD_MS);
      });
    });
  }

  /** The member to remove: preferably one that can't run any more, otherwise often the leader. */
  private victim(informed: Member, members: readonly MemberRecord[]): MemberRecord | null {
    const { random, hosts } = this.world;
    const dead = members.filter((member) => hosts.some((host) => host.id === member.id && host.ended));
    if (dead.length > 0 && random.chance(0.7)) return random.pick(dead);
    const leader = members.find((member) => member.id === informed.replica.leader);
    return leader !== undefined && random.chance(0.3) ? leader : random.pick(members);
  }

  /** Moves a member: often to where it is reached, sometimes to where nobody or another member is. */
  private move(members: readonly MemberRecord[]): void {
    const { random, hosts, coverage } = this.world;
    const astray = members.filter((member) => isAstray(this.world, member));
    if (astray.length > 0 && random.chance(0.6)) {
      this.putRight(random.pick(astray));
      return;
    }
    const target = random.pick(members.filter((member) => member.started));
    const host = hosts.find(({ id }) => id === target?.id);
    if (target === null || host === undefined) return;
    const leads = random.pick(["there", "there", "nowhere", "to another"] as const);
    const other = random.pick(hosts.filter(({ id }) => id !== host.id));
    const address = leads === "nowhere" ? "nowhere" : leads === "there" ? host.address : other?.address;
    if (address === undefined) return;
    // An operator who changes a member's peer URL changes its configuration too.
    if (leads === "there") host.peerPort = this.nextPort++;
    const peerUrl = leads === "there" ? host.peerUrl : this.freshUrl(address);
    this.clients.write({ rpc: "UpdateMember", name: target.name, id: target.id, peerUrl }, (reason) => {
      if (reason !== null) this.refused(reason);
      if (leads === "there" && reason === null) coverage.add("peer URL updated");
      else if (reason === null) coverage.add("peer URL that leads astray accepted");
      else if (reason === "UNHEALTHY_CLUSTER") {
        coverage.add(leads === "to another" ? "peer URL of another member refused" : "dead peer URL refused");
      }
    });
  }

  /** Gives a member the URL where it is reached. */
  private putRight(member: MemberRecord | null): void {
    const host = this.world.hosts.find(({ id }) => id === member?.id);
    if (member === null || host === undefined) return;
    const { name, id } = member;
    const peerUrl = this.freshUrl(host.address);
    this.clients.write({ rpc: "UpdateMember", name, id, peerUrl }, (reason) => {
      if (reason === null) this.world.coverage.add("peer URL put right");
    });
  }

  private freshUrl(address: string): string {
    return `http://${address}:${this.nextPort++}`;
  }

  private transfer(informed: Member, members: readonly MemberRecord[]): void {
    const { random, hosts, coverage } = this.world;
    const target = random.pick(members);
    const leader = hosts.find(({ id }) => id === informed.replica.leader)?.running ?? informed;
    if (target === null) return;
    if (random.chance(0.5)) {
      this.clients.transfer(random.chance(0.3) ? "" : target.name);
      return;
    }
    if (insideOf(leader).role === Role.Leader) coverage.add("transfer asked for");
    leader.replica.transferLeader(target.id);
  }

  /**
   * A leader transfers leadership, another member is cut off, and the first leader gets leadership back. Its contact with
   * the cut-off member in the earlier term must not count when a voter is then removed.
   */
  private comeBack(informed: Member, members: readonly MemberRecord[]): void {
    const { random, hosts, coverage, network, scheduler, nobody, profile } = this.world;
    const hostOf = (id: bigint): Host | undefined => hosts.find((host) => host.id === id);
    const leader = hostOf(informed.replica.leader);
    const others = members.filter(({ id, learner }) => id !== leader?.id && !learner);
    const to = random.pick(others);
    const lost = random.pick(others.filter((member) => member !== to));
    const lostHost = lost === null ? undefined : hostOf(lost.id);
    if (leader?.running == null || to === null || lost === null || lostHost === undefined) return;
    coverage.add("leadership comes back");
    leader.running.replica.transferLeader(to.id);
    const stepUs = random.between(2, 8) * profile.delayUsMax + 4 * profile.syncUs;
    scheduler.after(stepUs, "churn", nobody, () => {
      for (const host of hosts) {
        if (host === lostHost) continue;
        network.block(lostHost, host);
        network.block(host, lostHost);
      }
      hostOf(to.id)?.running?.replica.transferLeader(leader.id);
      this.clients.write({ rpc: "DeleteMember", name: to.name });
    });
    scheduler.after(stepUs + random.between(500, 4000) * 1000, "heal", nobody, () => network.heal());
  }

  /** A transfer when the faults end, to a member that may be down and so gets the TimeoutNow message late or never. */
  lastTransfer(): void {
    const { random, hosts } = this.world;
    const informed = this.informed();
    if (informed === null || !this.world.has("transfer") || !random.chance(0.4)) return;
    const down = hosts.filter(
      (host) => host.running === null && informed.replica.roster.member(host.id) !== null,
    );
    const leader = hosts.find(({ id }) => id === informed.replica.leader)?.running;
    const target = random.pick(down);
    if (target !== null) leader?.replica.transferLeader(target.id);
  }

  private refused(reason: string): void {
    if (reason !== "OUTCOME_UNKNOWN" && reason !== "VALIDATED")
      this.world.coverage.add("membership change refused");
  }

  /** A machine that waits to join, or a new one, which may have the name of a removed member. */
  private newcomer(members: readonly MemberRecord[]): Host | null {
    const { world } = this;
    const { random, hosts } = world;
    const listed = new Set(members.map(({ name }) => name));
    const waiting = hosts.filter((host) => host.member?.phase === "joining" && !listed.has(host.name));
    const again = random.pick(waiting);
    if (again !== null && (waiting.length > 2 || random.chance(0.7))) return again;
    return this.machine(members, random.chance(0.8)) ?? again;
  }

  /** @returns null when there are too many */
  private machine(members: readonly MemberRecord[], starts: boolean): Host | null {
    const { world } = this;
    const { random, hosts } = world;
    if (hosts.length >= HOSTS_MAX) return null;
    const listed = new Set(members.map(({ name }) => name));
    const number = hosts.length;
    const reusable = hosts.filter((host) => host.ended && !listed.has(host.name));
    const name = random.chance(0.3) ? random.pick(reusable)?.name : undefined;
    const host = new Host(world, number, name ?? `n${number + 1}`, false);
    hosts.push(host);
    if (starts) host.start();
    return host;
  }
}
