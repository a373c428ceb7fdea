/**
 * One process of a member: a real member (server/member.ts) with a simulated disk, clock, random generator and wire.
 *
 * When the process is killed, its pending events never run, because the scheduler drops events of an owner that is not
 * alive.
 */
import { silentLog } from "../../src/base/log";
import type { Log } from "../../src/base/log";
import type { Cluster } from "../../src/cluster/assemble";
import { MessageType } from "../../src/raft/index";
import type { Message, NodeId } from "../../src/raft/index";
import { DivergedError } from "../../src/replica/diverged";
import type { Replica } from "../../src/replica/replica";
import type { ServerConfig } from "../../src/server/config";
import { StartRefusedError } from "../../src/server/errors";
import { Member as ProductMember } from "../../src/server/member";
import type { MemberPhase } from "../../src/server/member";
import { DataDirError } from "../../src/storage/errors";
import { StorageError } from "../../src/storage/storage";
import type { Storage } from "../../src/storage/storage";
import { DATA_DIR, walOptions } from "./directory";
import type { Host } from "./host";
import { MemberClock } from "./member_clock";
import { watchCluster, watchStorage } from "./observe";
import type { Owner } from "./scheduler";
import { SimFs } from "./sim_fs";
import type { SimListener } from "./sim_listener";
import { SimTransport } from "./sim_transport";
import { SimWire } from "./sim_wire";
import { Violation } from "./violation";
import type { World } from "./world";

/** So few that a capture takes many turns. */
const CAPTURE_BYTES_PER_TURN = 500;
const TOKEN = "simulation";

export class Member implements Owner {
  alive = true;
  readonly clock: MemberClock;
  readonly fs: SimFs;
  readonly world: World;
  peerListener: SimListener | null = null;
  adminListener: SimListener | null = null;
  /** Number of clients' calls that this process is serving. */
  calls = 0;
  /** Number of snapshots that this process has taken. */
  snapshots = 0;
  /** When the addresses in its initial-cluster were current, in virtual microseconds; null for a first start. */
  readonly addressesUs: number | null;
  private readonly product: ProductMember;
  private running: { readonly storage: Storage; readonly cluster: Cluster } | null = null;
  private storageOpened: Storage | null = null;
  private stopping = false;

  constructor(
    readonly host: Host,
    /** Number of this process among those of its machine. */
    readonly life: number,
  ) {
    const { world, time, disk } = host;
    const { profile, random, scheduler } = world;
    this.world = world;
    this.addressesUs = host.directorySeen ? scheduler.nowUs : null;
    this.clock = new MemberClock(time, this, scheduler);
    this.fs = new SimFs(disk, this, scheduler, random, profile, world.coverage);
    this.product = new ProductMember(this.config(), {
      clock: this.clock,
      wallNow: () => time.wallMs(),
      defer: (fn) => {
        scheduler.after(random.chance(0.1) ? random.below(2000) : 0, "turn", this, fn);
      },
      random,
      fs: this.fs,
      log: this.log(),
      snapshots: {
        everyEntries: profile.snapshotEvery,
        everyBytes: 64 * 1024,
        keepEntries: profile.snapshotKeep,
        captureBytesPerTurn: CAPTURE_BYTES_PER_TURN,
      },
      limits: {
        writesWaitingMax: profile.waitingMax,
        readsWaitingMax: profile.waitingMax,
        watchesMax: profile.waitingMax,
      },
      wal: walOptions(this),
      history: profile.memory,
      wire: () => new SimWire(this),
      observer: {
        opened: (storage) => {
          this.opened(storage);
        },
        assembled: (cluster) => {
          this.assembled(cluster);
        },
      },
    });
  }

  /** Whether this member takes what `id` sends: not before it is on its disk that it met that directory. */
  takesFrom(id: NodeId): boolean {
    const identities = this.cluster?.peerAdmission.identities;
    const seen = identities?.["seen"].get(id);
    return seen === undefined || identities?.["hasMet"](id, seen.handshake.instanceId) === true;
  }

  get number(): number {
    return this.host.number;
  }
  get label(): string {
    return `${this.host.label}#${this.life}`;
  }
  get pausedUntilUs(): number {
    return this.host.pausedUntilUs;
  }
  get phase(): MemberPhase {
    return this.alive ? this.product.phase : "ended";
  }
  /** Null before the member serves and after it has ended. */
  get cluster(): Cluster | null {
    return this.phase === "running" ? (this.running?.cluster ?? null) : null;
  }
  get replica(): Replica {
    return this.must().cluster.replica;
  }
  get storage(): Storage {
    return this.must().storage;
  }
  /** Number of writes and reads that wait on this member. */
  get waiting(): number {
    const { replica, submissions } = this.must().cluster;
    return submissions.size + replica.readsWaiting + replica.writesWaiting;
  }

  private must() {
    if (this.running === null) throw new Error(`${this.label} does not run`);
    return this.running;
  }

  /** The configuration: founders list each other; a joining member lists members that it can ask. */
  private config(): ServerConfig {
    const { host, world } = this;
    const { heartbeatMs, electionMs } = world.profile;
    // The first start of a founder must be as it was planned; later ones list new addresses.
    const first = host.founder && !host.directorySeen;
    const urlOf = (other: Host): string => (first ? other.firstPeerUrl : other.peerUrl);
    const own = { name: host.name, peerUrl: urlOf(host) };
    // For a later start its operator lists every machine that is not given up, wherever it is now.
    const isPeer = (other: Host): boolean =>
      host.directorySeen ? !other.ended && other.id !== 0n : other.running !== null;
    const others =
      host.founder && !host.directorySeen
        ? world.hosts.filter((other) => other.isPlanned && other !== host)
        : world.hosts.filter((other) => isPeer(other) && other.name !== host.name);
    const byName = new Map(others.map((other) => [other.name, { name: other.name, peerUrl: urlOf(other) }]));
    return {
      name: host.name,
      adminUrl: host.adminUrl,
      peerUrl: own.peerUrl,
      heartbeatMs,
      electionMs,
      initialCluster: [...byName.values(), own],
      initialClusterState: host.founder ? "new" : "existing",
      initialClusterToken: TOKEN,
      dataDir: DATA_DIR,
      logLevel: "info",
    };
  }

  private log(): Log {
    const note = (text: string, error?: Error): void => {
      this.world.note(`${this.label}: ${text}${error === undefined ? "" : `: ${error.message}`}`);
    };
    return {
      ...silentLog,
      info: (_fields, text) => {
        if (text === "published") this.world.coverage.add("product: published");
        else if (text === "joins a running cluster") this.world.coverage.add("product: first start, joined");
        else if (text === "bootstrapped a new cluster")
          this.world.coverage.add("product: first start, bootstrapped");
      },
      warn: (_fields, text) => {
        if (text.startsWith("the disk is full: handing")) this.world.coverage.add("full leader handed over");
        if (text.startsWith("cut a torn tail")) this.world.coverage.add("torn tail cut");
      },
      error: (_fields, text, error) => {
        note(text, error);
        // The services log this text for an unexpected error, which must never happen.
        if (text === "a call failed unexpectedly") this.world.fail(error);
      },
    };
  }

  // --- Start --------------------------------------------------------------------------------------------------------

  start(): void {
    this.product.start().then(
      () => {
        if (!this.alive) return;
        void this.product.exited.then(() => {
          this.endedByItself();
        });
      },
      (error: unknown) => {
        this.startFailed(error);
      },
    );
  }

  private opened(storage: Storage): void {
    const { host, world } = this;
    if (storage.snapshot() !== null) world.coverage.add("restart from a snapshot");
    host.id = storage.identity.memberId;
    // The flipped bit did no harm. It must not be restored later, when the file may have other contents.
    host.damaged = null;
    this.storageOpened = storage;
    if (host.formerIds.has(host.id) && !host.wiped) host.tookFormerId();
    world.checkers.opened(this, storage);
    watchStorage(this, storage);
  }

  private assembled(cluster: Cluster): void {
    if (this.storageOpened === null) throw new Error("the cluster layer comes before its log");
    this.running = { storage: this.storageOpened, cluster };
    const { world } = this;
    watchCluster(this, cluster);
    world.checkers.started(this);
    world.watchers.started(this);
    cluster.replica.listen({
      onRemoved: () => {
        world.coverage.add("removed member stays for its vote");
      },
      onRegressed: (id) => {
        this.regressed(id);
      },
      onFatal: (error) => {
        this.failed(error);
      },
    });
  }

  private startFailed(error: unknown): void {
    const { host, world } = this;
    if (!this.alive) return;
    world.note(`${this.label} does not start: ${String(error)}`);
    if (error instanceof DataDirError && error.reason === "removed") {
      world.coverage.add("member marked as removed");
      host.ended = true;
    } else if (error instanceof StartRefusedError) {
      // An earlier instance of this member has started before, so an operator has to remove it and add it again.
      if (!this.stopping) {
        world.coverage.add("product: start refused");
        host.ended = true;
      }
    } else if (host.damaged !== null) {
      world.coverage.add("bit flip refused at the start");
    } else if (!this.fs.faulted) {
      world.fail(new Violation("starts", `${this.label} does not start: ${String(error)}`));
    }
    this.end();
  }

  // --- End ----------------------------------------------------------------------------------------------------------

  /** Kills the process: no event of it runs any more. */
  die(): void {
    if (this.alive) this.world.checkers.ended(this);
    this.alive = false;
  }

  private end(): void {
    this.die();
    this.host.gone(this);
  }

  /** Stops the member gracefully, as SIGTERM does. */
  async stop(): Promise<void> {
    if (this.stopping || this.phase !== "running") return;
    this.stopping = true;
    try {
      await this.product.stop();
    } catch (error) {
      if (!this.fs.faulted) this.world.fail(error);
    }
    if (this.alive) this.end();
  }

  private endedByItself(): void {
    if (!this.alive || this.stopping) return;
    const { endedBy } = this.product;
    if (endedBy === "removed") this.world.coverage.add("removed member ended");
    const { host } = this;
    if (endedBy === "rolled back" && host.copyOf !== null) {
      this.world.coverage.add("copy of a directory refused");
      host.ended = true;
    } else if ((endedBy === "wiped" || endedBy === "rolled back") && !host.wiped && !host.rolledBack) {
      const text = `${this.label} ends as ${endedBy}, and has the directory that it always had`;
      this.world.fail(new Violation("ends_rightly", text));
    }
    if (endedBy === "removed" && this.world.checkers.record.lists(host.id)) {
      const text = `${this.label} ends as removed, and nobody has removed it`;
      this.world.fail(new Violation("ends_rightly", text));
    }
    if (endedBy === "wiped" || endedBy === "rolled back") {
      this.world.coverage.add("wiped member refused");
      // A restart would not help: an operator has to replace the member.
      this.host.ended = true;
    }
    this.end();
  }

  /** An older copy runs here: a heartbeat that names more than its log holds must not pass as any other. */
  mustHaveNoticed(batch: readonly Message[]): void {
    const { replica } = this;
    const names = ({ type, term, from, index }: Message): boolean =>
      type === MessageType.Heartbeat &&
      term === replica.term &&
      from === replica.leader &&
      index > replica.lastIndex;
    if (!this.alive || !batch.some(names) || replica.inbound["ownRegressLogged"]) return;
    const text = `${this.label} does not notice that its log ends before what it acknowledged`;
    this.world.fail(new Violation("ends_rightly", text));
  }

  /** A refusal that a fault makes up. */
  heardRefusal(by: bigint, reason: string, text: string): void {
    const transport = this.cluster?.transport;
    if (transport instanceof SimTransport) transport.heardRefusal(by, reason, text);
  }

  /** This member leads, and logs that the member `id` lost what it had acknowledged. Its operator does as the line says. */
  private regressed(id: bigint): void {
    const { world } = this;
    const host = world.hosts.find((other) => other.id === id);
    if (host?.rolledBack !== true) {
      const text = `${this.label} takes ${host?.label ?? id.toString(16)} for rolled back`;
      world.fail(new Violation("ends_rightly", text));
      return;
    }
    world.coverage.add("older copy noticed by the leader");
    host.ended = true;
    world.scheduler.after(0, "lifecycle", world.nobody, () => host.crash("kill"), "stopped by its operator");
  }

  private failed(error: Error): void {
    const { world, fs } = this;
    world.note(`${this.label} fails: ${error.message}`);
    if (error instanceof DivergedError && this.host.mustEnd) {
      world.coverage.add("diverged member ended");
      this.host.ended = true;
      return;
    }
    const excused = error instanceof StorageError && error.reason === "io" && fs.faulted;
    if (excused) return;
    const violation = new Violation("never_fails", `${this.label} fails by itself: ${error.message}`);
    violation.stack = error.stack ?? "";
    world.fail(violation);
  }
}
