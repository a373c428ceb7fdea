/**
 * One member, put together: what is started in which order, and stopped in which.
 *
 * Start: configuration, data directory, peer listener (a joiner must be reachable before it is anyone), log and roster,
 * node, admin listener, publish. Stop: health, refuse what comes, hand over leadership, let what is in the log finish,
 * listeners, node, log.
 */
import { credentials } from "@grpc/grpc-js";
import type { ChannelCredentials } from "@grpc/grpc-js";
import { decodeCommand, Roster, formatId } from "../roster/index";
import { NO_NODE } from "../raft/index";
import type { Entry, RandomSource, Snapshot } from "../raft/index";
import { markRemoved, readDataDirState } from "../storage/data_dir";
import { nodeFs } from "../storage/fs";
import type { StorageFs } from "../storage/fs";
import type { Storage } from "../storage/storage";
import { openStorage } from "../storage/wal";
import { systemClock } from "../base/clock";
import type { Clock } from "../base/clock";
import { GrpcTransport } from "../transport/grpc_transport";
import { raftServiceDefinition } from "../transport/service_definition";
import { ConfChangeQueue } from "./conf_change_queue";
import type { ServerConfig } from "./config";
import { StartRefusedError, checkLaterStart, firstStart } from "./first_start";
import type { Born } from "./first_start";
import { Forwarder } from "./forwarder";
import { Health } from "./health";
import { randomU64, systemRandom } from "../base/random";
import type { UnaryOptions } from "./interceptors/unary";
import { LinearizableReads } from "./linearizable_reads";
import { Listener } from "./listener";
import { createLogger } from "./logger";
import type { Logger } from "./logger";
import { MembershipServiceHost, membershipServiceDefinition } from "./membership_service";
import { DEFAULT_SNAPSHOT_POLICY } from "./applier";
import type { SnapshotPolicy } from "./applier";
import { Node } from "./node";
import { MaintenanceServiceHost, maintenanceServiceDefinition } from "./maintenance_service";
import { PeerQuery } from "./peer_query";
import { Proposals } from "./proposals";
import { Publisher } from "./publisher";
import { RaftServiceHost } from "./raft_service";
import { reflectionService } from "./reflection";
import { VERSION } from "../base/version";
import { Writes } from "./writes";

/** Most bytes of one request to the admin listener. */
export const REQUEST_BYTES_MAX = 1024 * 1024;
/** Most bytes of one message between members: an append of 1 MiB with its envelope, with room. */
const PEER_MESSAGE_BYTES_MAX = 8 * 1024 * 1024;
const PEER_BATCH_BYTES_MAX = 4 * 1024 * 1024;
/** How long questions to peers at the start may take, in milliseconds. */
const PEER_QUERY_MS = 1000;
/** How long a stopping member waits for entries that are in the log, in milliseconds. */
const SETTLE_MS_MAX = 1000;

/** What a member takes from its surroundings. Everything has a default that is the real thing. */
export interface ServerDeps {
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly wallNow: () => number;
  readonly defer: (fn: () => void) => void;
  readonly random: RandomSource;
  readonly fs: StorageFs;
  readonly log: Logger;
  readonly snapshots: SnapshotPolicy;
  /** Most writes that wait on this member at once. @default 4096: about as many as one batch of a second */
  readonly writesWaitingMax: number;
  /** Most linearizable reads that wait on this member at once. @default 16384 */
  readonly readsWaitingMax: number;
}

function defaultDeps(config: ServerConfig): ServerDeps {
  return {
    clock: systemClock,
    wallNow: Date.now,
    defer: (fn) => {
      setImmediate(fn);
    },
    random: systemRandom,
    fs: nodeFs,
    log: createLogger(config.name, config.logLevel),
    snapshots: DEFAULT_SNAPSHOT_POLICY,
    writesWaitingMax: 4096,
    readsWaitingMax: 16_384,
  };
}

/** A running member. */
export interface Server {
  /** Stops gracefully. Settles when the log is closed. */
  stop(): Promise<void>;
  /** Settles with an exit code when the member ends by itself: removed, wiped, or its log can't be written. */
  readonly exited: Promise<number>;
  /** The loop, for tests and diagnosis. */
  readonly node: Node;
}

/**
 * Starts one member.
 *
 * @throws ConfigError, StartRefusedError or DataDirError, each with one line for people
 */
export async function startServer(
  config: ServerConfig,
  overrides: Partial<ServerDeps> = {},
): Promise<Server> {
  const member = new Member(config, { ...defaultDeps(config), ...overrides });
  try {
    await member.start();
  } catch (error) {
    await member.abandonStart();
    throw error;
  }
  return member;
}

/** The parts that exist once the member knows who it is. */
interface Running {
  readonly storage: Storage;
  readonly node: Node;
  readonly transport: GrpcTransport;
  readonly proposals: Proposals;
  readonly confChanges: ConfChangeQueue;
  readonly writes: Writes;
  readonly reads: LinearizableReads;
  readonly publisher: Publisher;
}

class Member implements Server {
  readonly exited: Promise<number>;
  private resolveExited: (code: number) => void = () => undefined;
  private readonly health = new Health();
  private readonly peerListener: Listener;
  private readonly adminListener: Listener;
  private readonly forwarder: Forwarder;
  private readonly raftHost: RaftServiceHost;
  private readonly membershipHost: MembershipServiceHost;
  private readonly maintenanceHost: MaintenanceServiceHost;
  private readonly query: PeerQuery;
  private running: Running | null = null;
  private hadSpace = true;
  /** Why this member stops for good; empty when it does not. */
  private removedText = "";
  private stopping: Promise<void> | null = null;

  constructor(
    private readonly config: ServerConfig,
    private readonly deps: ServerDeps,
  ) {
    const { clock, wallNow, log } = deps;
    this.exited = new Promise((resolve) => {
      this.resolveExited = resolve;
    });
    this.peerListener = new Listener(clock, PEER_MESSAGE_BYTES_MAX);
    this.adminListener = new Listener(clock, REQUEST_BYTES_MAX);
    this.forwarder = new Forwarder(credentialsFor, () => clock.now());
    this.query = new PeerQuery(credentialsFor, PEER_QUERY_MS);
    const unary: UnaryOptions = {
      clock,
      wallNow,
      electionMs: config.electionMs,
      log,
      position: () => ({ term: this.running?.node.term ?? 0, index: this.running?.node.applied ?? 0 }),
    };
    this.raftHost = new RaftServiceHost({ name: config.name, member: () => this.running, clock, log, unary });
    this.membershipHost = new MembershipServiceHost({ backend: () => this.running, unary });
    this.maintenanceHost = new MaintenanceServiceHost({ backend: () => this.running, unary });
  }

  get node(): Node {
    if (this.running === null) throw new Error("the member has not started");
    return this.running.node;
  }

  async start(): Promise<void> {
    const { config, deps } = this;
    const state = await readDataDirState(deps.fs, config.dataDir);
    this.peerListener.server.addService(raftServiceDefinition, this.raftHost.handlers);
    this.peerListener.server.addService(membershipServiceDefinition, this.membershipHost.handlers);
    await this.peerListener.bind(config.peerUrl, "peer-url");

    let born: Born = { peers: [] };
    if (typeof state === "string") {
      const { fs, clock, log } = deps;
      born = await firstStart(config, {
        fs,
        query: this.query,
        clock,
        log,
        stopped: () => this.stopping !== null,
      });
    } else if (state.removed === null) {
      await checkLaterStart(config, state.identity.clusterId, this.query);
    }
    const { storage } = await openStorage(deps.fs, config.dataDir, {
      onTornTail: ({ keptAs }) => {
        deps.log.warn(
          { kept_as: keptAs ?? "" },
          "cut a torn tail off the log; nothing in it was acknowledged",
        );
      },
    });
    let running: Running;
    try {
      running = this.assemble(storage);
      await this.bindAdmin();
    } catch (error) {
      await closeStorage(storage);
      throw error;
    }
    this.running = running;
    this.go(running, born);
  }

  /** Ends what a failed start left behind. */
  async abandonStart(): Promise<void> {
    this.stopping ??= Promise.resolve();
    await Promise.all([this.peerListener.close(), this.adminListener.close()]);
    this.forwarder.close();
  }

  private async bindAdmin(): Promise<void> {
    const { server } = this.adminListener;
    server.addService(membershipServiceDefinition, this.membershipHost.handlers);
    server.addService(maintenanceServiceDefinition, this.maintenanceHost.handlers);
    this.health.addTo(server);
    reflectionService().addToServer(server);
    await this.adminListener.bind(this.config.adminUrl, "admin-url");
  }

  // --- Assembly -----------------------------------------------------------------------------------------------------

  private assemble(storage: Storage): Running {
    const { config, deps } = this;
    const { clock, wallNow, defer, random, log, snapshots } = deps;
    const { clusterId, memberId, instanceId } = storage.identity;
    const restoreRoster = ({ meta, data }: Snapshot): Roster => {
      const restored = Roster.restore(data, { appliedIndex: meta.index });
      if (restored.clusterId === clusterId) return restored;
      throw new StartRefusedError(
        `the snapshot is of cluster ${formatId(restored.clusterId)}, not ${formatId(clusterId)}`,
      );
    };
    const snapshot = storage.snapshot();
    const roster = snapshot === null ? new Roster({ clusterId }) : restoreRoster(snapshot);
    this.checkWhoItIs(storage, roster);

    const transport = new GrpcTransport({
      self: { clusterId, memberId, instanceId, peerUrl: config.peerUrl },
      credentialsFor,
      clock,
      random,
      maxMessageBytes: PEER_BATCH_BYTES_MAX,
      log,
      events: {
        onUnreachable: (id) => {
          node.reportUnreachable(id);
        },
        onSnapshotResult: (id, delivered) => {
          node.reportSnapshot(id, delivered);
        },
        onRefused: (id, reason, text) => {
          this.onRefusedByPeer(id, reason, text);
        },
      },
    });
    const node = new Node({
      storage,
      roster,
      transport,
      clock,
      defer,
      random,
      firstReadContext: randomU64(),
      heartbeatMs: config.heartbeatMs,
      electionMs: config.electionMs,
      snapshots,
      restoreRoster,
      log,
    });
    const confChanges = new ConfChangeQueue(node, config.heartbeatMs, async (name, peerUrl) => {
      const hello = await this.query.hello(peerUrl);
      return hello !== null && hello.waitingToJoin && hello.name === name;
    });
    const proposals = new Proposals(node, clock, confChanges, deps.writesWaitingMax);
    const writes = new Writes(node, proposals, this.forwarder, config.electionMs);
    const reads = new LinearizableReads(
      node,
      clock,
      this.forwarder,
      writes,
      deps.readsWaitingMax,
      config.electionMs,
    );
    const publisher = new Publisher({
      node,
      writes,
      clock,
      wallNow,
      electionMs: config.electionMs,
      adminUrl: config.adminUrl,
      version: VERSION,
      instanceId,
      log,
      onRefused: (reason, text) => {
        this.onRefusedByPeer(NO_NODE, reason, text);
      },
    });
    return { storage, node, transport, proposals, confChanges, writes, reads, publisher };
  }

  /** The directory must be this member's: its name stands in the roster, or in the entries that follow. */
  private checkWhoItIs(storage: Storage, roster: Roster): void {
    const { memberId } = storage.identity;
    const name = roster.member(memberId)?.name ?? nameInLog(storage, memberId);
    if (name === null || name === this.config.name) return;
    throw new StartRefusedError(
      `data-dir ${this.config.dataDir} belongs to member ${name} (${formatId(memberId)}), ` +
        `but the configured name is ${this.config.name}: correct one of them`,
    );
  }

  private go(running: Running, born: Born): void {
    const { node, publisher } = running;
    node.listen({
      onLeadership: () => {
        this.noticeHealth(node);
      },
      onTick: () => {
        this.noticeHealth(node);
      },
      onApplied: () => {
        this.raftHost.endRemoved(node);
      },
      onRemoved: (text) => {
        this.noticeRemoved(text);
      },
      onDismissed: (revision) => {
        void this.endRemoved(revision);
      },
      onFatal: (error) => {
        this.endFailed(error);
      },
    });
    node.start();
    for (const peer of born.peers) node.meet(peer);
    publisher.start();
    const { name, adminUrl, peerUrl } = this.config;
    const { log } = this.deps;
    const fields = {
      id: node.id,
      cluster: node.clusterId,
      version: VERSION,
      term: node.term,
      index: node.lastIndex,
    };
    log.info({ ...fields, name, admin_url: adminUrl, peer_url: peerUrl }, "started");
    const known = node.roster.member(node.id);
    if (known !== null && !known.peerUrls.includes(peerUrl)) {
      log.warn(
        { configured: peerUrl, roster: known.peerUrls.join() },
        "the roster has another peer URL for this member",
      );
    }
  }

  /** Health follows the leader and the disk; running out of space, and having some again, is one line each. */
  private noticeHealth(node: Node): void {
    const { hasSpace } = node;
    if (hasSpace !== this.hadSpace) {
      const fields = { data_dir: this.config.dataDir, term: node.term, index: node.lastIndex };
      if (hasSpace) this.deps.log.info(fields, "there is space for the log again");
      else
        this.deps.log.error(
          fields,
          "the disk is full: no changes are taken until there is space, reads go on",
        );
    }
    this.hadSpace = hasSpace;
    this.health.set(node.leader !== NO_NODE && hasSpace && this.removedText === "");
  }

  // --- The end ------------------------------------------------------------------------------------------------------

  stop(): Promise<void> {
    this.stopping ??= this.stopGracefully();
    return this.stopping;
  }

  private async stopGracefully(): Promise<void> {
    this.health.end();
    const { running } = this;
    if (running === null) {
      await this.abandonStart();
      return;
    }
    const { node, proposals, publisher, writes, reads, storage } = running;
    this.deps.log.info({ term: node.term, index: node.applied }, "stopping");
    publisher.stop();
    proposals.stop();
    await this.handOver(running);
    await this.waitUntil(() => proposals.size === 0, SETTLE_MS_MAX, node);
    proposals.abandon();
    writes.stop();
    reads.stop();
    this.maintenanceHost.stop();
    this.raftHost.stop();
    await Promise.all([this.adminListener.close(), this.peerListener.close()]);
    this.endParts(running);
    await closeStorage(storage);
    this.deps.log.info({ term: node.term, index: node.applied }, "stopped");
  }

  /** A leader that stops hands over first, so that the others need not wait for an election timeout. */
  private async handOver({ node, confChanges }: Running): Promise<void> {
    if (!node.isLeader) return;
    const to = confChanges.bestSuccessor();
    if (to === null) return;
    node.transferLeader(to);
    await this.waitUntil(() => !node.isLeader && node.leader !== NO_NODE, this.config.electionMs, node);
  }

  private waitUntil(condition: () => boolean, timeoutMs: number, node: Node): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        leave();
        resolve();
      };
      const look = (): void => {
        if (condition()) end();
      };
      const timer = this.deps.clock.setTimeout(end, timeoutMs);
      const leave = node.listen({ onLeadership: look, onApplied: look, onTick: look, onFatal: end });
      look();
    });
  }

  private endParts({ transport, node }: Running): void {
    transport.stop();
    this.forwarder.close();
    node.stop();
  }

  private onRefusedByPeer(id: bigint, reason: string, text: string): void {
    const { log } = this.deps;
    if (reason === "MEMBER_REMOVED") this.running?.node.toldRemoved(id, text);
    else if (reason === "MEMBER_WIPED") this.endWiped(text);
    else log.warn({ peer: id, reason, text }, "a peer refused this member's stream");
  }

  /** It stays as long as the others may need its vote, but serves nobody. */
  private noticeRemoved(text: string): void {
    if (this.stopping !== null) return;
    this.removedText = text;
    this.health.set(false);
    this.deps.log.error({}, `${text}; it stops for good, and its data directory does not start again`);
  }

  private async endRemoved(revision: number): Promise<void> {
    if (this.stopping !== null) return;
    const { fs, log } = this.deps;
    const text = this.removedText;
    const stopped = this.stop();
    try {
      await markRemoved(fs, this.config.dataDir, { revision, text });
    } catch (error) {
      const err = error instanceof Error ? error : new Error(String(error));
      log.error({}, "the data directory could not be marked as removed; delete it", err);
    }
    await stopped;
    this.resolveExited(1);
  }

  private endWiped(text: string): void {
    if (this.stopping !== null) return;
    this.deps.log.error({}, `the cluster refuses this member: ${text}`);
    void this.stop().then(() => {
      this.resolveExited(1);
    });
  }

  /** The log can't be written, or an entry can't be understood: nothing more is acknowledged. */
  private endFailed(err: Error): void {
    this.health.end();
    this.deps.log.error({}, "this member can't go on", err);
    const { running } = this;
    this.stopping ??= (async () => {
      if (running === null) return;
      running.proposals.abandon();
      running.writes.stop();
      running.reads.stop();
      running.publisher.stop();
      this.maintenanceHost.stop();
      this.raftHost.stop();
      this.endParts(running);
      await Promise.all([this.adminListener.close(), this.peerListener.close()]);
      // A log that failed is not synced again; closing only lets go of the directory. Why it failed is logged above.
      await closeStorage(running.storage).catch(() => undefined);
    })();
    void this.stopping.then(() => {
      this.resolveExited(1);
    });
  }
}

function credentialsFor(url: string): ChannelCredentials {
  return url.startsWith("https://") ? credentials.createSsl() : credentials.createInsecure();
}

function closeStorage(storage: Storage): Promise<void> {
  return new Promise((resolve, reject) => {
    storage.close((error) => {
      if (error === null || error.reason === "closed") resolve();
      else reject(error);
    });
  });
}

/** The name under which a committed entry added this member; null when no entry here does. */
function nameInLog(storage: Storage, id: bigint): string | null {
  const read = storage.entries(storage.firstIndex(), storage.lastIndex() + 1, Infinity);
  if (typeof read === "string") return null;
  return read.map((entry) => addedName(entry, id)).find((name) => name !== null) ?? null;
}

function addedName({ confChange }: Entry, id: bigint): string | null {
  if (confChange === null || !confChange.changes.some((change) => change.nodeId === id)) return null;
  const { body } = decodeCommand(confChange.context);
  return body?.$case === "addMember" && body.value.id === id ? body.value.name : null;
}
