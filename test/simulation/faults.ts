/**
 * Injects faults. One fault begins at a time, but several may be active. Each ends by itself after a while, or when all
 * faults end before the final checks.
 */
import { cutOffRemoved, interruptChange, losePowerAfterChange, splitJoint } from "./faults_joint";
import { moveHosts } from "./faults_move";
import { oldCopy } from "./faults_old_copy";
import { overtake } from "./faults_overtaken";
import { peerLies } from "./faults_peers";
import { copyDirectory, olderBoot, removeCopies } from "./faults_twin";
import type { Host } from "./host";
import { MOMENTS } from "./moments";
import type { Fault, Focus } from "./profile";
import type { World } from "./world";

type Begin = (faults: Faults) => void;

/** The faults with their weights: the probability of each is its weight divided by the sum. */
const KINDS: readonly { readonly fault: Fault; readonly weight: number; readonly begin: Begin }[] = [
  { fault: "partition", weight: 22, begin: (faults) => faults.partition() },
  { fault: "slow-link", weight: 6, begin: (faults) => faults.slowLink() },
  { fault: "skew", weight: 3, begin: (faults) => faults.skew() },
  { fault: "jump", weight: 5, begin: (faults) => faults.jump() },
  { fault: "pause", weight: 10, begin: (faults) => faults.pause() },
  { fault: "crash", weight: 26, begin: (faults) => faults.crash() },
  { fault: "aimed", weight: 26, begin: (faults) => faults.aimed() },
  { fault: "stop", weight: 6, begin: (faults) => faults.stop() },
  { fault: "sync-error", weight: 5, begin: (faults) => faults.ioError() },
  { fault: "disk-full", weight: 5, begin: (faults) => faults.diskFull() },
  { fault: "descriptors", weight: 5, begin: (faults) => faults.descriptors() },
  { fault: "slow-disk", weight: 6, begin: (faults) => faults.slowDisk() },
  { fault: "bit-flip", weight: 4, begin: (faults) => faults.bitFlip() },
  { fault: "move", weight: 5, begin: (faults) => moveHosts(faults.world) },
  { fault: "twin", weight: 10, begin: (faults) => copyDirectory(faults.world) },
  { fault: "wipe", weight: 15, begin: (faults) => faults.wipe() },
  { fault: "old-copy", weight: 10, begin: ({ world }) => oldCopy(world) },
  { fault: "old-copy", weight: 5, begin: ({ world }) => olderBoot(world) },
  { fault: "peer-lies", weight: 12, begin: ({ world }) => peerLies(world) },
  { fault: "joint", weight: 8, begin: ({ world }) => splitJoint(world) },
  { fault: "joint", weight: 8, begin: ({ world }) => interruptChange(world) },
  { fault: "joint", weight: 4, begin: ({ world }) => cutOffRemoved(world) },
  { fault: "joint", weight: 4, begin: ({ world }) => losePowerAfterChange(world) },
  { fault: "overtaken", weight: 6, begin: ({ world }) => overtake(world) },
];

/** By what a focus multiplies the weights. */
const IN_FOCUS: Readonly<Record<Focus, Partial<Record<Fault, number>>>> = {
  none: {},
  membership: { joint: 12, twin: 0, wipe: 0.2, "old-copy": 0, "peer-lies": 0.2, "bit-flip": 0 },
  steward: { joint: 6, aimed: 2, twin: 0, wipe: 0.2, "old-copy": 0, "peer-lies": 0.2, "bit-flip": 0 },
  elections: { overtaken: 10, partition: 2, aimed: 2, twin: 0, wipe: 0.2, "old-copy": 0, "peer-lies": 0.2 },
  birth: {},
  copies: { twin: 10, "old-copy": 6, wipe: 0, "peer-lies": 0, "bit-flip": 0, partition: 0.3, crash: 0.3 },
  lies: { "peer-lies": 12, twin: 0, wipe: 0, "old-copy": 0, "bit-flip": 0, crash: 0.3, stop: 0 },
  disks: {
    "bit-flip": 8,
    "sync-error": 4,
    "disk-full": 3,
    descriptors: 3,
    "slow-disk": 2,
    aimed: 1.5,
    twin: 0,
    wipe: 0,
    "old-copy": 0,
    "peer-lies": 0,
  },
  addresses: { move: 10, twin: 0, wipe: 0, "old-copy": 0, "peer-lies": 0, "bit-flip": 0 },
  "late attempts": { twin: 0, wipe: 0, "old-copy": 0, "peer-lies": 0, crash: 0.3 },
};

export class Faults {
  stopped = false;

  constructor(readonly world: World) {}

  start(): void {
    const { scheduler, random, profile, nobody } = this.world;
    scheduler.after(random.below(2 * profile.faultMs * 1000), "fault", nobody, () => {
      if (this.stopped) return;
      if (this.world.formed || !profile.calmBirth) this.beginOne();
      this.start();
    });
  }

  /** Ends all faults and starts every machine that is down. */
  heal(): void {
    this.stopped = true;
    const { network, hosts } = this.world;
    network.heal();
    network.perfect = true;
    removeCopies(this.world);
    for (const host of hosts) {
      host.time.setRate(1);
      host.disk.capacityBytes = Infinity;
      host.disk.slowness = 1;
      host.disk.failNext = null;
      host.disk.unopenable = null;
      if (host.member !== null) host.member.fs.descriptorsLeft = true;
      this.repair(host);
      // A member that still waits to join is restarted by its operator, with the present members in initial-cluster.
      if (host.member?.phase === "joining") host.crash("kill");
      host.start();
    }
  }

  private beginOne(): void {
    const { random } = this.world;
    const times = IN_FOCUS[this.world.profile.focus];
    const kinds = KINDS.filter(({ fault }) => this.world.has(fault)).map((kind) => ({
      ...kind,
      weight: Math.ceil(kind.weight * (times[kind.fault] ?? 1)),
    }));
    let at = random.below(kinds.reduce((sum, { weight }) => sum + weight, 0));
    for (const { weight, begin } of kinds) {
      at -= weight;
      if (at >= 0) continue;
      begin(this);
      return;
    }
  }

  private get hosts(): readonly Host[] {
    return this.world.hosts;
  }

  private anyRunning(): Host | null {
    return this.world.random.pick(this.hosts.filter((host) => host.running !== null));
  }

  private later(minMs: number, maxMs: number, act: () => void, what: string): void {
    const { scheduler, random, nobody } = this.world;
    scheduler.after(random.between(minMs, maxMs) * 1000, "heal", nobody, act, what);
  }

  // --- Network ------------------------------------------------------------------------------------------------------

  partition(): void {
    const { world } = this;
    const { random, network, coverage } = world;
    const order = [...this.hosts].filter((host) => !host.ended);
    for (let i = order.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [order[i], order[j]] = [order[j] as Host, order[i] as Host]; // both below length
    }
    const cut = (separate: (i: number, j: number) => boolean): void => {
      order.forEach((a, i) => {
        order.forEach((b, j) => {
          if (i !== j && separate(i, j)) network.block(a, b);
        });
      });
    };
    const n = order.length;
    if (n < 2) return;
    // The leader is put on the smaller side, where the entries that it still appends must be truncated later.
    const leader = order.findIndex((host) => host.running?.replica.isLeader === true);
    if (leader > 0 && random.chance(0.6)) order.unshift(...order.splice(leader, 1));
    const kind = random.below(10);
    if (kind < 2) {
      coverage.add("partition");
      const side = random.between(1, Math.ceil(n / 2));
      cut((i, j) => i < side !== j < side);
    } else if (kind < 4) {
      coverage.add("partition");
      const side = random.between(1, n - 1);
      cut((i, j) => i < side !== j < side);
    } else if (kind < 6) {
      coverage.add("partition: one way");
      const side = random.between(1, n - 1);
      cut((i, j) => i < side && j >= side);
    } else if (kind < 8) {
      coverage.add("partition: ring");
      cut((i, j) => (i + 1) % n !== j && (j + 1) % n !== i);
    } else {
      // Two halves that are connected only through one member.
      coverage.add("partition: bridge");
      const half = 1 + Math.floor((n - 1) / 2);
      cut((i, j) => i !== 0 && j !== 0 && i < half !== j < half);
    }
    this.later(100, 5000, () => network.heal(), "network");
  }

  slowLink(): void {
    const { network, random, coverage } = this.world;
    const [a, b] = [random.pick(this.hosts), random.pick(this.hosts)];
    if (a === null || b === null || a === b) return;
    coverage.add("slow link");
    network.slow(a, b, random.between(5, 200));
    this.later(500, 5000, () => network.slow(a, b, 1), "slow link");
  }

  // --- Time ---------------------------------------------------------------------------------------------------------

  skew(): void {
    const { random, coverage, profile } = this.world;
    const host = random.pick(this.hosts);
    if (host === null || profile.skew === 0) return;
    coverage.add("clock skew");
    host.time.setRate(1 - profile.skew + (random.below(1000) / 500) * profile.skew);
  }

  jump(): void {
    const { random, coverage } = this.world;
    const host = random.pick(this.hosts);
    if (host === null) return;
    if (random.chance(0.5)) {
      coverage.add("clock jump");
      this.world.clockJumps++;
      host.time.jump(random.between(50, 10_000));
    } else {
      coverage.add("wall clock set back");
      host.time.setWall(-random.between(1, 7_200_000));
    }
  }

  pause(): void {
    const { random, coverage, scheduler } = this.world;
    const host = this.anyRunning();
    if (host === null) return;
    coverage.add("pause");
    host.pausedUntilUs = scheduler.nowUs + random.between(10, 4000) * 1000;
  }

  // --- Processes and disks ------------------------------------------------------------------------------------------

  crash(): void {
    const { random } = this.world;
    if (this.world.profile.focus === "disks" && random.chance(0.3)) {
      this.crashAtSnapshot();
      return;
    }
    const kind = random.chance(0.7) ? "power" : "kill";
    if (random.chance(0.08)) {
      // Every machine of the site crashes.
      for (const host of this.hosts) if (host.member !== null) host.crash(kind);
      return;
    }
    const alive = this.hosts.filter((host) => host.member !== null);
    const recovering = alive.filter((host) => host.member?.phase === "starting");
    const host = random.pick(recovering.length > 0 && random.chance(0.3) ? recovering : alive);
    host?.crash(kind);
  }

  /** The next member that takes a snapshot loses its power while it is written, or soon after. */
  private crashAtSnapshot(): void {
    const { moments, scheduler, random, profile, nobody, coverage } = this.world;
    const delayUs = random.below(10 * profile.syncUs);
    moments.arm("snapshot taken", ({ host }) => {
      scheduler.after(delayUs, "fault", nobody, () => {
        if (this.stopped || host.member === null) return;
        coverage.add("aimed crash");
        host.crash("power");
      });
    });
  }

  /** At the next moment of a random kind, the member crashes, is cut off, or its answers to others arrive late. */
  aimed(): void {
    const { world } = this;
    const { random, scheduler, profile, coverage, network, nobody } = world;
    const moment = random.chance(0.25) ? "reconfiguration" : (random.pick(MOMENTS) ?? "leader");
    const isCrash = random.chance(0.5);
    const delayUs = random.below(random.chance(0.6) ? 2 * profile.syncUs : 300_000);
    world.moments.arm(moment, ({ host }) => {
      scheduler.after(
        delayUs,
        "fault",
        nobody,
        () => {
          if (this.stopped || host.member === null) return;
          if (isCrash) {
            coverage.add("aimed crash");
            host.crash("power", random.chance(0.7) ? random.between(1, 200) : random.between(200, 3000));
            return;
          }
          const how = random.below(10);
          if (how < 3) {
            this.lateAnswers(host);
            return;
          }
          if (how < 6) {
            coverage.add("aimed partition");
            this.partition();
            return;
          }
          coverage.add("aimed isolation");
          // Cut off from all members or from all but one, in both directions or only outgoing.
          const friend = random.chance(0.5) ? random.pick(this.hosts) : null;
          const both = random.chance(0.7);
          this.isolate(host, friend, both);
          this.later(200, 4000, () => network.heal(), "network");
        },
        moment,
      );
    });
  }

  /** Blocks the member's outgoing messages and delays those to it, so that answers arrive when they may be outdated. */
  private lateAnswers(host: Host): void {
    const { network, random, coverage, profile } = this.world;
    coverage.add("answers that come late");
    for (const other of this.hosts) {
      if (other === host) continue;
      network.block(host, other);
      network.slow(other, host, Math.ceil(random.between(500_000, 2_500_000) / profile.delayUsMax));
    }
    this.later(500, 4000, () => network.heal(), "network");
  }

  stop(): void {
    const host = this.anyRunning();
    if (host?.running == null) return;
    this.world.coverage.add("graceful stop");
    void host.running.stop();
  }

  ioError(): void {
    const host = this.anyRunning();
    if (host === null) return;
    host.disk.failNext = this.world.random.chance(0.6) ? "sync" : "write";
  }

  diskFull(): void {
    const { random } = this.world;
    const host = this.anyRunning();
    if (host === null) return;
    host.disk.capacityBytes = host.disk.usedBytes() + random.below(12_000);
    this.later(500, 6000, () => (host.disk.capacityBytes = Infinity), `space on ${host.label}`);
  }

  /** Connections hold every file descriptor of a running process for a while. */
  descriptors(): void {
    const host = this.anyRunning();
    if (host?.member == null) return;
    const { fs } = host.member;
    fs.descriptorsLeft = false;
    this.later(300, 8000, () => (fs.descriptorsLeft = true), `descriptors of ${host.label}`);
  }

  slowDisk(): void {
    const { random, coverage } = this.world;
    const host = this.anyRunning();
    if (host === null) return;
    coverage.add("slow disk");
    host.disk.slowness = random.between(3, 60);
    this.later(300, 5000, () => (host.disk.slowness = 1), `disk of ${host.label}`);
  }

  /** Flips a bit while the member is down. After a while the bit is restored, or the churn replaces the member. */
  bitFlip(): void {
    const { random, coverage } = this.world;
    const host = random.pick(
      this.hosts.filter((candidate) => candidate.id !== 0n && candidate.damaged === null),
    );
    if (host === null || host.ended || this.damagedCount() > 0) return;
    if (host.member !== null) host.crash("kill");
    const target = random.pick(host.disk.files().filter(({ file }) => file.data.size > 0));
    if (target === null) return;
    coverage.add("bit flip");
    const { file } = target;
    const bit = random.below(8);
    let offset = random.below(file.data.size);
    // Most of a segment is zeros, of which a flipped bit changes no record.
    const bytes = file.data.view();
    if (random.chance(0.7))
      for (let i = 0; i < 20 && bytes[offset] === 0; i++) offset = random.below(bytes.length);
    file.flip(offset, bit);
    host.damaged = { undo: () => file.flip(offset, bit) };
    this.later(500, 6000, () => this.repair(host), `bit of ${host.label}`);
  }

  private damagedCount(): number {
    return this.hosts.filter((host) => host.damaged !== null).length;
  }

  /** Restores the bit if the member could not start. If it did start, the bit did no harm and stays. */
  private repair(host: Host): void {
    if (host.damaged === null) return;
    const { undo } = host.damaged;
    host.damaged = null;
    // Crash a start that is under way, which may already have read the flipped bit.
    if (host.member !== null) host.crash("kill");
    undo();
    host.start();
  }

  /**
   * A member loses its data directory and restarts with an empty one. A founder at any time: what it starts anew must not
   * forget anything. One that joined only when every other member is sure to know the lost instance: before that, none
   * could distinguish it from a member that has never started.
   */
  wipe(): void {
    const { random } = this.world;
    if (this.hosts.some((other) => other.wiped && !other.ended)) return;
    if (this.world.profile.voters >= 3 && random.chance(0.25)) {
      const founder = random.pick(
        this.hosts.filter(
          (other) => other.founder && !other.ended && other.directorySeen && other.moves === 0,
        ),
      );
      if (founder === null) return;
      this.world.coverage.add("founder wiped at any time");
      founder.crash("power");
      founder.wipe();
      return;
    }
    // Preferably a member of the first configuration, because it can start again without being added first.
    const able = this.hosts.filter(
      (candidate) =>
        candidate.running !== null &&
        !candidate.ended &&
        candidate.moves === 0 &&
        this.isKnownEverywhere(candidate),
    );
    const founders = able.filter(({ founder }) => founder);
    const host = random.pick(founders.length > 0 ? founders : able);
    if (host === null) return;
    if (random.chance(0.3)) {
      host.crash("power");
      host.wipe();
    } else this.wipeBesideLaggards(host);
  }

  /**
   * Half of the other members fall behind, then this member loses its data directory and the up-to-date members go down.
   * It bootstraps while no member answers, and then meets the members that are behind: with its vote they would be a
   * quorum without the acknowledged entries.
   */
  private wipeBesideLaggards(host: Host): void {
    const { network, scheduler, random, nobody, coverage } = this.world;
    const others = this.hosts.filter((other) => other !== host && other.running !== null);
    const behind = others.filter((_, i) => i % 2 === 0);
    for (const laggard of behind) this.isolate(laggard, null, true);
    scheduler.after(random.between(300, 1500) * 1000, "fault", nobody, () => {
      if (this.stopped || host.running === null || !this.isKnownEverywhere(host)) return;
      coverage.add("wiped beside members that are behind");
      for (const other of others)
        if (!behind.includes(other)) other.crash("kill", random.between(4000, 9000));
      host.crash("power", random.between(20, 100));
      host.wipe();
      this.isolate(host, null, true);
      this.later(1300, 2500, () => network.heal(), "network");
    });
  }

  /** @param friend the only host that stays connected, if any */
  private isolate(host: Host, friend: Host | null, both: boolean): void {
    const { network } = this.world;
    for (const other of this.hosts) {
      if (other === host || other === friend) continue;
      network.block(host, other);
      if (both) network.block(other, host);
    }
  }

  private isKnownEverywhere(host: Host): boolean {
    const members = this.newestRoster();
    const others = this.hosts.filter((other) => other !== host && members.has(other.id));
    // A member that has never started here knows nothing, and may start at any time.
    if (others.length < members.size - 1) return false;
    for (const { running } of others) {
      const snapshot = running?.storage.snapshot() ?? null;
      const known = running?.replica.roster.member(host.id) ?? null;
      if (snapshot === null || known === null || !known.started) return false;
      if (host.publishedAt === null || host.publishedAt > snapshot.meta.index) return false;
    }
    // The remaining members must be able to continue without this one.
    return members.has(host.id) && others.length >= 3;
  }

  private newestRoster(): ReadonlySet<bigint> {
    let newest: readonly { readonly id: bigint }[] = [];
    let index = 0;
    for (const { running } of this.hosts) {
      if (running === null || running.replica.applied <= index) continue;
      index = running.replica.applied;
      newest = running.replica.roster.members();
    }
    return new Set(newest.map(({ id }) => id));
  }
}
