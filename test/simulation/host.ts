/**
 * One machine of the run: its disk, its clocks, and the process on it, if one runs. The machine outlives processes;
 * its disk may be wiped, after which another member may be born on it.
 */
import { MachineTime } from "./member_clock";
import { SimDisk } from "./disk";
import { Member } from "./member";
import type { Machine } from "./network";
import type { SimRandom } from "./random";
import type { World } from "./world";
import { DurableLog } from "./durable_log";

export class Host implements Machine {
  readonly alive = true;
  pausedUntilUs = 0;
  readonly disk = new SimDisk();
  readonly time: MachineTime;
  /** What storage has acknowledged: what must be there after any crash. */
  durable = new DurableLog();
  /** What was acknowledged by a directory that is lost: answers of it may still be on their way. */
  lost: DurableLog | null = null;
  member: Member | null = null;
  /** The id that the directory was born with; 0n before. */
  id = 0n;
  /** The member ended for good: removed, wiped, or its directory is damaged. */
  ended = false;
  /** A bit of the disk was flipped, and has not been put right. */
  damaged: { readonly undo: () => void } | null = null;
  /** The directory was lost once: another instance may be born here. */
  wiped = false;
  private lives = 0;

  constructor(
    readonly world: World,
    readonly number: number,
    /** The member's configured name. */
    readonly name: string,
    /** Part of the first configuration. */
    readonly founder: boolean,
  ) {
    this.time = new MachineTime(world.scheduler);
  }

  get label(): string {
    return this.address;
  }

  get address(): string {
    return `h${this.number}`;
  }

  /** As configured; the roster may have another port. */
  get peerUrl(): string {
    return `http://${this.address}:7461`;
  }

  get adminUrl(): string {
    return `http://${this.address}:7460`;
  }

  get running(): Member | null {
    return this.member?.phase === "running" ? this.member : null;
  }

  start(): void {
    if (this.member !== null || this.ended) return;
    this.lives++;
    if (this.lives > 1) this.world.coverage.add("restart");
    const member = new Member(this, this.lives);
    this.member = member;
    this.world.scheduler.after(0, "lifecycle", member, () => member.start(), "start");
  }

  /** The process ends at once; with "power", so does the machine. */
  crash(kind: "power" | "kill", restartMs: number | null = null): void {
    const { world, member } = this;
    world.coverage.add(kind === "power" ? "power loss" : "process killed");
    if (member?.phase === "starting") world.coverage.add("crash in recovery");
    if (this.disk.crash(kind, world.random)) world.coverage.add("power loss that lost writes");
    this.pausedUntilUs = 0;
    if ((member?.calls ?? 0) > 0) world.coverage.add("call at a member that was killed");
    member?.die();
    this.member = null;
    this.restartLater(restartMs);
  }

  /** The process ended by itself. Its disk keeps what the operating system has. */
  gone(member: Member): void {
    if (this.member !== member) return;
    this.disk.crash("kill", this.world.random);
    this.member = null;
    this.restartLater();
  }

  /** Whoever looks after the machine starts the member again. */
  private restartLater(afterMs: number | null = null): void {
    const { scheduler, random, healing } = this.world;
    if (this.ended) return;
    const delayMs = afterMs ?? this.someDelay(random, healing);
    scheduler.after(delayMs * 1000, "lifecycle", this, () => this.start(), "start again");
  }

  private someDelay(random: SimRandom, healing: boolean): number {
    return healing ? 10 : random.chance(0.7) ? random.between(20, 800) : random.between(800, 6000);
  }

  wipe(): void {
    this.world.coverage.add("member wiped");
    this.disk.wipe();
    this.lost = this.durable;
    this.durable = new DurableLog();
    this.wiped = true;
  }
}
