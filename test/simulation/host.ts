/**
 * One machine of a run: its disk, its clocks, and the process on it, if one runs. The machine outlives its processes. Its
 * disk may be wiped, after which a new member instance may start on it.
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
  /** Everything that storage has acknowledged, which must survive any crash. */
  durable = new DurableLog();
  /** The same for a data directory that was lost, because messages of its instance may still be under way. */
  lost: DurableLog | null = null;
  member: Member | null = null;
  /** Whether the present data directory has been opened before. */
  directorySeen = false;
  /** Revision of the first publish of this directory's instance; null before. */
  publishedAt: number | null = null;
  /** The member id with which the directory was created; 0n before. */
  id = 0n;
  /** The ids of members that were replaced in place here. */
  readonly formerIds = new Set<bigint>();
  /** Whether the member can't run any more: removed, wiped, or its directory is damaged. */
  ended = false;
  /** Set while a flipped bit of the disk is not restored. */
  damaged: { readonly undo: () => void } | null = null;
  /** Whether the data directory was lost once, so that another instance may be created here. */
  wiped = false;
  /** Whether a data directory was lost here that its cluster had not replaced before. */
  lostData = false;
  /** Whether an older copy of the directory was put back. */
  rolledBack = false;
  /** Whether this member says of others what is not true. */
  stale = false;
  /** Whether its member was told of terms far ahead. */
  leapt = false;
  /** Whether a fault made this member contradict its cluster, so that it must end by itself. */
  mustEnd = false;
  /** The digests of the roster that were changed; a roster that a snapshot brings is right again. */
  otherDigests: object | null = null;
  /** The machine whose data directory this one has a copy of; null for all others. */
  copyOf: Host | null = null;
  /**
   * Of a directory that is a copy from before a start which every other member knows of: the boot ids in it, in
   * hexadecimal. Null for all others.
   */
  bootsCopied: readonly string[] | null = null;
  /** The configured port: an operator who changes the member's peer URL changes the configuration too. */
  peerPort = 7461;
  /** How often this machine was given another address. */
  moves = 0;
  /** When it got its present address, in virtual microseconds. */
  movedUs = 0;
  /** Whether the configuration that the cluster was planned with lists this machine, whatever became of it. */
  readonly isPlanned: boolean;
  private lives = 0;

  constructor(
    readonly world: World,
    readonly number: number,
    /** The member's configured name. */
    readonly name: string,
    /** Whether the member is part of the first configuration. */
    public founder: boolean,
  ) {
    this.isPlanned = founder;
    this.time = new MachineTime(world.scheduler);
  }

  get label(): string {
    return `h${this.number}`;
  }

  get address(): string {
    return this.addressAfter(this.moves);
  }

  /** The address before the last move, where it was reached until then. */
  get addressBefore(): string {
    return this.addressAfter(Math.max(0, this.moves - 1));
  }

  private addressAfter(moves: number): string {
    return moves === 0 ? `h${this.number}` : `h${this.number}-${moves}`;
  }

  /** The configured peer URL; the roster may have another port or another address. */
  get peerUrl(): string {
    return `http://${this.address}:${this.peerPort}`;
  }

  /** The peer URL of a founder's first start, of which its id is made. */
  get firstPeerUrl(): string {
    return `http://h${this.number}:7461`;
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

  /** Kills the process; with "power", the machine loses power. */
  crash(kind: "power" | "kill", restartMs: number | null = null): void {
    const { world, member } = this;
    world.coverage.add(kind === "power" ? "power loss" : "process killed");
    if (member?.phase === "starting") world.coverage.add("crash in recovery");
    if (this.disk.crash(kind, world.random)) world.coverage.add("power loss that lost writes");
    this.pausedUntilUs = 0;
    if ((member?.calls ?? 0) > 0) world.coverage.add("call at a member that was killed");
    member?.die();
    // After a power loss nobody closes its streams.
    if (member !== null && kind === "kill") this.closeStreams(member);
    this.member = null;
    this.restartLater(restartMs);
  }

  /** Called when the process has ended by itself. The disk keeps everything that was written. */
  gone(member: Member): void {
    if (this.member !== member) return;
    this.disk.crash("kill", this.world.random);
    this.closeStreams(member);
    this.member = null;
    this.restartLater();
  }

  private closeStreams(member: Member): void {
    for (const { running } of this.world.hosts) running?.peerListener?.senderEnded(member);
  }

  /** Starts the member again later, as its operator would. */
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
    this.wiped = true;
    this.lostData = true;
    this.emptied();
  }

  /** The member was replaced in place: this machine starts anew with an empty disk, to join under another id. */
  renew(): void {
    if (this.member !== null) this.crash("kill", 0);
    this.disk.wipe();
    this.emptied();
    this.founder = false;
    this.formerIds.add(this.id);
    this.id = 0n;
    this.ended = false;
    this.damaged = null;
    this.wiped = this.rolledBack = this.stale = this.leapt = this.mustEnd = false;
    this.otherDigests = null;
  }

  /** The directory was created under an id that a member had here before: only old answers list it. */
  tookFormerId(): void {
    this.world.coverage.add("joined under the id that was replaced");
    this.wiped = true;
    this.lostData = true;
  }

  private emptied(): void {
    this.lost = this.durable;
    this.durable = new DurableLog();
    this.directorySeen = false;
    this.publishedAt = null;
  }
}
