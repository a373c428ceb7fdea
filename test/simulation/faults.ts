/**
 * What goes wrong, and when: one fault at a time is begun, many may be under way. Each ends by itself after a while, or
 * when the run heals.
 */
import type { Host } from "./host";
import { MOMENTS } from "./moments";
import type { Fault } from "./profile";
import type { World } from "./world";

type Begin = (faults: Faults) => void;

/** How often each is chosen, against the sum of all. */
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
  { fault: "slow-disk", weight: 6, begin: (faults) => faults.slowDisk() },
  { fault: "bit-flip", weight: 4, begin: (faults) => faults.bitFlip() },
  { fault: "wipe", weight: 6, begin: (faults) => faults.wipe() },
];

export class Faults {
  stopped = false;

  constructor(private readonly world: World) {}

  start(): void {
    const { scheduler, random, profile, nobody } = this.world;
    scheduler.after(random.below(2 * profile.faultMs * 1000), "fault", nobody, () => {
      if (this.stopped) return;
      this.beginOne();
      this.start();
    });
  }

  /** Everything works again, and is started again. */
  heal(): void {
    this.stopped = true;
    const { network, hosts } = this.world;
    network.heal();
    network.perfect = true;
    for (const host of hosts) {
      host.time.setRate(1);
      host.disk.capacityBytes = Infinity;
      host.disk.slowness = 1;
      host.disk.failNext = null;
      this.repair(host);
      host.start();
    }
  }

  private beginOne(): void {
    const { random } = this.world;
    const kinds = KINDS.filter(({ fault }) => this.world.has(fault));
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
    // The leader on the smaller side: what it still appends will have to go.
    const leader = order.findIndex((host) => host.running?.node.isLeader === true);
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
      // Two halves that only one member can talk to.
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
    const kind = random.chance(0.7) ? "power" : "kill";
    if (random.chance(0.08)) {
      // The whole site.
      for (const host of this.hosts) if (host.member !== null) host.crash(kind);
      return;
    }
    const alive = this.hosts.filter((host) => host.member !== null);
    const recovering = alive.filter((host) => host.member?.phase === "starting");
    const host = random.pick(recovering.length > 0 && random.chance(0.3) ? recovering : alive);
    host?.crash(kind);
  }

  /** At the next moment of some kind: the member crashes before or after its disk is done, or is cut off. */
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
          // From all, or from all but one; both ways, or only what it sends.
          const friend = random.chance(0.5) ? random.pick(this.hosts) : null;
          const both = random.chance(0.7);
          for (const other of this.hosts) {
            if (other === host || other === friend) continue;
            network.block(host, other);
            if (both) network.block(other, host);
          }
          this.later(200, 4000, () => network.heal(), "network");
        },
        moment,
      );
    });
  }

  /** Others hear nothing of it any more, and what they answered before comes late: when it may be true no longer. */
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

  slowDisk(): void {
    const { random, coverage } = this.world;
    const host = this.anyRunning();
    if (host === null) return;
    coverage.add("slow disk");
    host.disk.slowness = random.between(3, 60);
    this.later(300, 5000, () => (host.disk.slowness = 1), `disk of ${host.label}`);
  }

  /** A bit turns while the member is down; after a while the disk is put right (or the churn replaces the member). */
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
    const [offset, bit] = [random.below(file.data.size), random.below(8)];
    file.flip(offset, bit);
    host.damaged = { undo: () => file.flip(offset, bit) };
    this.later(500, 6000, () => this.repair(host), `bit of ${host.label}`);
  }

  private damagedCount(): number {
    return this.hosts.filter((host) => host.damaged !== null).length;
  }

  /** Puts the bit right where the member could not start with it; one that did start never needed it. */
  private repair(host: Host): void {
    if (host.damaged === null) return;
    const { undo } = host.damaged;
    host.damaged = null;
    // A start that is under way may have read the bit already.
    if (host.member !== null) host.crash("kill");
    undo();
    host.start();
  }

  /**
   * A directory is lost and the member comes back with an empty one. Only where every other member is sure to know the
   * lost instance: before that nobody could tell it from one that never started.
   */
  wipe(): void {
    const { random } = this.world;
    const host = random.pick(this.hosts.filter((candidate) => !candidate.ended && candidate.id !== 0n));
    if (host === null || host.member === null || !this.isKnownEverywhere(host)) return;
    if (this.hosts.some((other) => other.wiped && !other.ended)) return;
    host.crash("power");
    host.wipe();
  }

  private isKnownEverywhere(host: Host): boolean {
    const members = this.newestRoster();
    const others = this.hosts.filter((other) => other !== host && members.has(other.id));
    for (const { running } of others) {
      const snapshot = running?.storage.snapshot() ?? null;
      const known = running?.node.roster.member(host.id) ?? null;
      if (snapshot === null || known === null || !known.started) return false;
      if (known.updateRevision > snapshot.meta.index) return false;
    }
    // What is left must be able to go on without it.
    return members.has(host.id) && others.length >= 3;
  }

  private newestRoster(): ReadonlySet<bigint> {
    let newest: readonly { readonly id: bigint }[] = [];
    let index = 0;
    for (const { running } of this.hosts) {
      if (running === null || running.node.applied <= index) continue;
      index = running.node.applied;
      newest = running.node.roster.members();
    }
    return new Set(newest.map(({ id }) => id));
  }
}
