/**
 * One member of the cluster: creates its parts, and starts and stops them in order.
 *
 * Start: data directory, peer listener (a joiner must be reachable before it has an identity), first start, log and
 * cluster layer, admin listener, replica, publish. Stop: health, then the cluster layer (cluster/stop.ts), streams and
 * listeners, replica, log.
 */
import { VERSION } from "../base/version";
import { assembleCluster } from "../cluster/assemble";
import type { Cluster } from "../cluster/assemble";
import type { Boots } from "../cluster/boots";
import type { MetStore } from "../cluster/peer_identity";
import type { VerdictReason } from "../cluster/verdicts";
import { endCalls, endReplica, stopServing } from "../cluster/stop";
import { NO_NODE } from "../raft/index";
import { DivergedError } from "../replica/diverged";
import type { Replica } from "../replica/replica";
import { ListenError } from "../rpc/definition";
import { errorTranslator } from "../services/errors";
import { Health } from "../services/health";
import { MaintenanceService, maintenanceService } from "../services/maintenance";
import { MembershipService, membershipService } from "../services/membership";
import { raftHandlers, raftUnaryService } from "../services/raft";
import type { WaitingStart } from "../services/raft";
import { markRemoved, readDataDirState } from "../storage/data_dir";
import type { Storage } from "../storage/storage";
import type { PeerAddress } from "../transport/transport";
import type { ServerConfig } from "./config";
import { defaultDeps } from "./deps";
import type { MemberDeps } from "./deps";
import { FinalExit, StartRefusedError } from "./errors";
import { checkLaterStart, firstStart } from "./first_start";
import { openIdentity } from "./identity";
import { openLog } from "./open_log";
import { checkOwner } from "./owner";
import { LeaderWatch } from "./leader_watch";
import { memberLog } from "./member_log";
import type { AdminListener, PeerListener, Wire } from "./wire";

/** The state of the member, for tests and diagnosis. */
export type MemberPhase = "starting" | "joining" | "running" | "ended";

/** Why a member ended by itself; see Member.endedBy. */
type EndedBy = "removed" | "wiped" | "rolled back" | "diverged" | "failure";

const EXIT_CODES = {
  removed: FinalExit.Removed,
  wiped: FinalExit.Unusable,
  "rolled back": FinalExit.Unusable,
  diverged: FinalExit.Unusable,
  failure: 1,
} as const satisfies Record<EndedBy, number>;

const END_OF = {
  MEMBER_REMOVED: "removed",
  MEMBER_WIPED: "wiped",
  MEMBER_ROLLED_BACK: "rolled back",
} as const satisfies Record<VerdictReason, EndedBy>;
const ROLLED_BACK_TEXT =
  "this data directory is an older copy, or another process runs as this member from a copy of it: keep one of the two " +
  "stopped for good; to bring this member back, remove it from the cluster and add it again with an empty data directory";

/** The parts that exist once the data directory, and with it the member's identity, is there. */
interface Running {
  readonly storage: Storage;
  readonly cluster: Cluster;
}

/**
 * Starts one member.
 *
 * @throws ConfigError, StartRefusedError or DataDirError, each with a message of one line
 */
export async function startMember(
  config: ServerConfig,
  overrides: Partial<MemberDeps> = {},
): Promise<Member> {
  const member = new Member(config, overrides);
  await member.start();
  return member;
}

export class Member {
  /** Settles with an exit code when the member ends by itself; see endedBy. */
  readonly exited: Promise<number>;
  phase: MemberPhase = "starting";
  /**
   * Why the member ended by itself: "removed" from the cluster, "wiped" (it lost its data directory, and the cluster
   * refuses the new instance), "rolled back" (its data directory is an older copy, or another copy of it is in
   * use), "diverged" (its log or roster
   * contradicts its cluster's), or "failure" (the log can't be written, or an entry is of an unknown kind). Null while the
   * member runs, and after stop().
   */
  endedBy: EndedBy | null = null;
  private resolveExited: (code: number) => void = () => undefined;
  private readonly deps: MemberDeps;
  private readonly wire: Wire;
  private readonly peerListener: PeerListener;
  private readonly adminListener: AdminListener;
  private readonly health: Health;
  private readonly maintenance: MaintenanceService;
  private running: Running | null = null;
  /** What this member waits for before it has a data directory; null before and after. */
  private waiting: WaitingStart | null = null;
  private hadSpace = true;
  /** How and when the cluster removed this member, for the log and the data directory; empty while it is a member. */
  private removedText = "";
  private stopping: Promise<void> | null = null;

  constructor(
    private readonly config: ServerConfig,
    overrides: Partial<MemberDeps> = {},
  ) {
    const given = { ...defaultDeps(config), ...overrides };
    const nameOf = (id: bigint): string | null =>
      this.running?.cluster.replica.roster.member(id)?.name ?? null;
    const deps = { ...given, log: memberLog(given.log, { clock: given.clock, nameOf }) };
    this.deps = deps;
    this.exited = new Promise((resolve) => {
      this.resolveExited = resolve;
    });
    this.wire = deps.wire(deps);
    const translate = errorTranslator(deps.log, () => {
      const replica = this.running?.cluster.replica;
      return { term: replica?.term ?? 0, index: replica?.applied ?? 0 };
    });
    this.peerListener = this.wire.peerListener(translate, () => this.running?.cluster.peerAdmission ?? null);
    this.adminListener = this.wire.adminListener(translate);
    this.health = new Health(this.adminListener.health);
    const options = { ...deps, backend: () => this.running?.cluster ?? null };
    const membership = new MembershipService(options).handlers;
    this.maintenance = new MaintenanceService(options);
    const { name, peerUrl } = config;
    const waiting = (): WaitingStart | null => this.waiting;
    this.peerListener.add(raftUnaryService, raftHandlers({ ...options, name, peerUrl, waiting }));
    this.peerListener.add(membershipService, membership);
    this.adminListener.add(membershipService, membership);
    this.adminListener.add(maintenanceService, this.maintenance.handlers);
  }

  /** The cluster layer of the running member. @throws when the member does not run */
  get cluster(): Cluster {
    return this.mustRun().cluster;
  }

  get storage(): Storage {
    return this.mustRun().storage;
  }

  private mustRun(): Running {
    if (this.running === null) throw new Error(`member ${this.config.name} does not run`);
    return this.running;
  }

  // --- Start --------------------------------------------------------------------------------------------------------

  /** @throws as startMember; after closing everything that was opened */
  async start(): Promise<void> {
    try {
      await this.tryStart();
    } catch (error) {
      this.phase = "ended";
      this.stopping ??= Promise.resolve();
      await this.closeListeners();
      this.wire.peers.close();
      throw error;
    }
  }

  private async tryStart(): Promise<void> {
    const { config, deps, wire } = this;
    const state = await readDataDirState(deps.fs, config.dataDir);
    await listen(this.peerListener, config.listenPeerUrl ?? config.peerUrl, "peer-url");
    let peers: readonly PeerAddress[] = [];
    if (typeof state === "string") {
      peers = await firstStart(config, {
        ...deps,
        peers: wire.peers,
        stopped: () => this.stopping !== null,
        onJoining: () => {
          this.phase = "joining";
          this.waiting = { for: "join" };
        },
        onForming: (clusterId, memberId) => {
          this.waiting = { for: "form", clusterId, memberId };
        },
      });
      this.waiting = null;
      this.phase = "starting";
    } else if (state.removed === null) {
      await checkLaterStart(config, state.identity.clusterId, wire.peers, deps.log);
    }
    const storage = await openLog(config.dataDir, deps);
    let cluster: Cluster;
    try {
      const { boots, metStore } = await openIdentity(deps.fs, config.dataDir, deps.random, deps.log);
      cluster = this.assemble(storage, boots, metStore);
      await listen(this.adminListener, config.listenAdminUrl ?? config.adminUrl, "admin-url");
    } catch (error) {
      await closeStorage(storage);
      throw error;
    }
    this.running = { storage, cluster };
    this.run(cluster, peers);
  }

  private assemble(storage: Storage, boots: Boots, metStore: MetStore): Cluster {
    const { config, deps, wire } = this;
    deps.observer.opened?.(storage);
    const self = {
      ...storage.identity,
      peerUrl: config.peerUrl,
      // The transport asks for it when it opens a stream, which it does not before it has peers.
      claim: () => ({ ...boots.claim, term: cluster.replica.term }),
    };
    const cluster: Cluster = assembleCluster({
      ...deps,
      storage,
      transport: (events) => wire.transport(self, events),
      peers: wire.peers,
      facts: { adminUrl: config.adminUrl, peerUrl: config.peerUrl, version: VERSION },
      hints: hintsOf(config),
      boots,
      metStore,
      heartbeatMs: config.heartbeatMs,
      electionMs: config.electionMs,
      onRefused: (id, reason, text) => {
        deps.log.warn({ peer: id, reason, text }, "a peer refused this member's stream");
      },
      onEnd: (reason, text) => {
        this.endRefused(END_OF[reason], text);
      },
      onRolledBack: () => {
        this.endRolledBack();
      },
    });
    checkOwner(config, storage, cluster.replica.roster);
    deps.observer.assembled?.(cluster);
    return cluster;
  }

  private run(cluster: Cluster, peers: readonly PeerAddress[]): void {
    const { replica, publisher } = cluster;
    const watch = new LeaderWatch(replica, this.deps.clock, this.deps.log);
    replica.listen({
      onLeadership: () => {
        this.noticeHealth(replica);
      },
      onTick: () => {
        this.noticeHealth(replica);
        watch.onTick();
      },
      onApplied: () => {
        this.peerListener.endExpelled();
      },
      onRemoved: (text) => {
        this.noticeRemoved(text);
      },
      onDismissed: (revision) => {
        void this.endRemoved(revision);
      },
      onRegressed: () => {
        this.peerListener.endExpelled();
      },
      onFatal: (error) => {
        this.endFailed(error);
      },
    });
    this.phase = "running";
    replica.start();
    for (const peer of peers) replica.addProvisionalPeer(peer);
    publisher.start();
    this.reportStart(replica);
  }

  private reportStart(replica: Replica): void {
    const { adminUrl, peerUrl } = this.config;
    const { log } = this.deps;
    const { id, clusterId, term, lastIndex } = replica;
    const fields = { id, cluster: clusterId, version: VERSION, term, index: lastIndex };
    log.info({ ...fields, admin_url: adminUrl, peer_url: peerUrl }, "started");
  }

  /**
   * Sets the health status: SERVING while a leader is known, the disk has space and the member is not removed. Logs one
   * line when the disk becomes full, and one when there is space again.
   */
  private noticeHealth(replica: Replica): void {
    const { hasSpace } = replica;
    if (hasSpace !== this.hadSpace) {
      const fields = { data_dir: this.config.dataDir, term: replica.term, index: replica.lastIndex };
      const text = "the disk is full: no changes are taken until there is space, reads go on";
      if (hasSpace) this.deps.log.info(fields, "there is space for the log again");
      else this.deps.log.error(fields, text);
    }
    this.hadSpace = hasSpace;
    this.health.set(replica.leader !== NO_NODE && hasSpace && this.removedText === "");
  }

  // --- Stop ---------------------------------------------------------------------------------------------------------

  /** Stops gracefully. Settles when the log is closed. */
  stop(): Promise<void> {
    this.stopping ??= this.stopGracefully();
    return this.stopping;
  }

  private async stopGracefully(): Promise<void> {
    const { clock, log } = this.deps;
    this.health.end();
    const { running } = this;
    if (running === null) {
      await this.closeListeners();
      this.wire.peers.close();
      return;
    }
    const { cluster, storage } = running;
    const { replica } = cluster;
    log.info({ term: replica.term, index: replica.applied }, "stopping");
    await stopServing(cluster, clock, this.config.electionMs);
    this.maintenance.stop();
    this.peerListener.endStreams();
    await this.closeListeners();
    this.end(cluster);
    await this.filesWritten(cluster);
    await closeStorage(storage);
    log.info({ term: replica.term, index: replica.applied }, "stopped");
  }

  /** Closing the storage gives up the directory's lock: nothing may be written in it afterwards. */
  private async filesWritten({ peerAdmission, boots }: Cluster): Promise<void> {
    await Promise.all([peerAdmission.identities.settled(), boots?.settled()]);
  }

  private async closeListeners(): Promise<void> {
    await Promise.all([this.peerListener.close(), this.adminListener.close()]);
  }

  private end(cluster: Cluster): void {
    this.phase = "ended";
    endReplica(cluster);
    this.wire.peers.close();
  }

  /** A removed member keeps running as long as the others may need its vote (ADR 0010), but serves no clients. */
  private noticeRemoved(text: string): void {
    if (this.stopping !== null) return;
    this.removedText = text;
    this.health.set(false);
    this.deps.log.error({}, `${text}; it stops for good, and its data directory does not start again`);
  }

  private async endRemoved(revision: number): Promise<void> {
    if (this.stopping !== null) return;
    this.endedBy = "removed";
    const { fs, log } = this.deps;
    const text = this.removedText;
    const stopped = this.stop();
    // Looked at when the mark is written; the log may fail before that, and an error that nobody waits for ends the process.
    stopped.catch(() => undefined);
    try {
      await markRemoved(fs, this.config.dataDir, { revision, text });
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      log.error({}, "the data directory could not be marked as removed; delete it", failure);
    }
    await this.ended(stopped);
  }

  /** Settles `exited` once the member has stopped. An error from closing the log is only logged. */
  private async ended(stopped: Promise<void>): Promise<void> {
    try {
      await stopped;
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      this.deps.log.error({}, "the log could not be closed", failure);
    }
    this.resolveExited(this.endedBy === null ? 1 : EXIT_CODES[this.endedBy]);
  }

  private endRefused(endedBy: EndedBy, text: string): void {
    if (this.stopping !== null) return;
    this.endedBy = endedBy;
    const advice =
      "its data directory is left as it is; remove this member and add it again with an empty data directory";
    this.deps.log.error({}, `this member ends (${endedBy}): ${text}; ${advice}`);
    void this.ended(this.stop());
  }

  /** This member's own log says that another process has published as this member, from a copy of its data directory. */
  private endRolledBack(): void {
    if (this.stopping !== null) return;
    this.endedBy = "rolled back";
    const fields = { data_dir: this.config.dataDir };
    this.deps.log.error(fields, ROLLED_BACK_TEXT);
    void this.ended(this.stop());
  }

  /** Ends the member because the log can't be written or an entry can't be decoded. Acknowledges nothing any more. */
  private endFailed(error: Error): void {
    this.endedBy ??= error instanceof DivergedError ? "diverged" : "failure";
    this.health.end();
    this.deps.log.error({}, "this member can't go on", error);
    this.stopping ??= this.abandon();
    void this.ended(this.stopping);
  }

  private async abandon(): Promise<void> {
    const { running } = this;
    if (running === null) return;
    endCalls(running.cluster);
    this.maintenance.stop();
    this.peerListener.endStreams();
    this.end(running.cluster);
    await this.closeListeners();
    // A failed log is never synced again: closing it only releases the directory. The failure was logged in endFailed.
    await this.filesWritten(running.cluster);
    await closeStorage(running.storage).catch(() => undefined);
  }
}

/** Where other members may be found, by the configuration alone. */
function hintsOf({ initialCluster, join, peerUrl, adminUrl }: ServerConfig): string[] {
  const urls = new Set([...initialCluster.map((member) => member.peerUrl), ...(join?.urls ?? [])]);
  urls.delete(peerUrl);
  urls.delete(adminUrl);
  return [...urls];
}

/** @throws StartRefusedError */
async function listen(listener: AdminListener | PeerListener, url: string, key: string): Promise<void> {
  try {
    await listener.listen(url);
  } catch (error) {
    throw error instanceof ListenError ? new StartRefusedError(`${key} ${error.message}`) : error;
  }
}

function closeStorage(storage: Storage): Promise<void> {
  return new Promise((resolve, reject) => {
    storage.close((error) => {
      if (error === null || error.reason === "closed") resolve();
      else reject(error);
    });
  });
}
