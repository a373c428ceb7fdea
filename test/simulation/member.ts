/**
 * One process of a member, put together from the server's own parts in the order in which the server does it: recovery
 * of the log, roster, node, proposals, reads; then publish. The transport, the forwarder and the join are simulated.
 *
 * When the process dies nothing of it happens any more: its events have an owner that is not alive.
 */
import { Roster } from "../../src/roster/index";
import { NO_NODE } from "../../src/raft/index";
import type { Message, NodeId, Snapshot } from "../../src/raft/index";
import type { CallContext } from "../../src/server/call";
import { ConfChangeQueue } from "../../src/server/conf_change_queue";
import { LinearizableReads } from "../../src/server/linearizable_reads";
import { silentLogger } from "../../src/server/logger";
import { Node } from "../../src/server/node";
import { Proposals } from "../../src/server/proposals";
import { Writes } from "../../src/server/writes";
import { markRemoved, readDataDirState } from "../../src/storage/data_dir";
import { DataDirError } from "../../src/storage/errors";
import { StorageError } from "../../src/storage/storage";
import type { Storage } from "../../src/storage/storage";
import { openStorage } from "../../src/storage/wal";
import { bootstrapDirectory, joinCluster } from "./birth";
import { DATA_DIR, walOptions } from "./directory";
import { SimContext } from "./context";
import type { Host } from "./host";
import { MemberClock } from "./member_clock";
import { commandFor, isConfChange } from "./operations";
import type { Operation, RosterAnswer, WriteAnswer, WriteOperation } from "./operations";
import { watchRoster, watchStorage } from "./observe";
import type { Owner } from "./scheduler";
import { SimForwarder, reasonOf } from "./sim_forwarder";
import { SimFs } from "./sim_fs";
import { SimTransport } from "./sim_transport";
import { Violation } from "./violation";
import type { World } from "./world";

/** How long a stopping member waits for what is in the log, and to hand over, in its milliseconds. */
const SETTLE_MS = 1000;
const PUBLISH_RETRY_MS = 500;
/** Events of the roster that a watch could resume from: few, so that snapshots stay small. */
const EVENTS_KEPT = 64;

interface Parts {
  readonly storage: Storage;
  readonly node: Node;
  readonly transport: SimTransport;
  readonly proposals: Proposals;
  readonly confChanges: ConfChangeQueue;
  readonly writes: Writes;
  readonly reads: LinearizableReads;
}

export class Member implements Owner {
  alive = true;
  phase: "starting" | "joining" | "running" | "ended" = "starting";
  readonly clock: MemberClock;
  readonly fs: SimFs;
  readonly world: World;
  private readonly forwarder: SimForwarder;
  private parts: Parts | null = null;
  /** Clients' calls that are under way here. */
  calls = 0;
  /** Snapshots that this process has taken. */
  snapshots = 0;
  private stopping = false;

  constructor(
    readonly host: Host,
    /** Counts the processes of this machine. */
    readonly life: number,
  ) {
    const { world, time, disk } = host;
    this.world = world;
    this.clock = new MemberClock(time, this, world.scheduler);
    this.fs = new SimFs(disk, this, world.scheduler, world.random, world.profile, world.coverage);
    this.forwarder = new SimForwarder(world, this);
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
  get node(): Node {
    return this.must().node;
  }
  get storage(): Storage {
    return this.must().storage;
  }
  /** Writes and reads that wait on this member. */
  get waiting(): number {
    const { node, proposals } = this.must();
    return proposals.size + node.readsWaiting + node.writesWaiting;
  }

  private must(): Parts {
    if (this.parts === null) throw new Error(`${this.label} does not run`);
    return this.parts;
  }

  // --- Start --------------------------------------------------------------------------------------------------------

  start(): void {
    this.open().catch((error: unknown) => {
      this.startFailed(error);
    });
  }

  private async open(): Promise<void> {
    const { host, fs, world } = this;
    const state = await readDataDirState(fs, DATA_DIR);
    if (typeof state === "string") {
      if (host.founder) await bootstrapDirectory(this);
      else if (!(await joinCluster(this))) return;
    } else if (state.removed !== null) {
      host.ended = true;
      this.end();
      return;
    }
    const { storage, report } = await openStorage(fs, DATA_DIR, {
      ...walOptions(this),
      onTornTail: () => {
        world.coverage.add("torn tail cut");
      },
    });
    if (report.snapshotIndex > 0) world.coverage.add("restart from a snapshot");
    host.id = storage.identity.memberId;
    // The bit did no harm: what is written from now on must not be put "right".
    host.damaged = null;
    this.parts = this.assemble(storage);
    this.phase = "running";
    world.checkers.started(this);
    const { node } = this.parts;
    node.listen({
      onRemoved: () => {
        world.coverage.add("removed member stays for its vote");
      },
      onDismissed: () => {
        void this.endRemoved();
      },
      onFatal: (error) => {
        this.endFailed(error);
      },
    });
    node.start();
    for (const peer of this.bornPeers) node.meet(peer);
    void this.publish();
  }

  /** Where a joiner finds the cluster until its own roster covers it. */
  bornPeers: readonly { readonly id: NodeId; readonly peerUrls: readonly string[] }[] = [];

  private startFailed(error: unknown): void {
    const { host, world } = this;
    if (!this.alive) return;
    world.note(`${this.label} does not start: ${String(error)}`);
    const removed = error instanceof DataDirError && error.reason === "removed";
    if (removed) host.ended = true;
    else if (host.damaged !== null) world.coverage.add("bit flip refused at the start");
    else if (!this.fs.faulted) {
      world.fail(new Violation("starts", `${this.label} does not start: ${String(error)}`));
    }
    this.end();
  }

  private assemble(storage: Storage): Parts {
    const { world, clock, forwarder, host } = this;
    const { profile, random, scheduler } = world;
    const { clusterId } = storage.identity;
    const restoreRoster = ({ meta, data }: Snapshot): Roster => {
      const roster = Roster.restore(data, { appliedIndex: meta.index, eventsLimit: EVENTS_KEPT });
      if (roster.clusterId !== clusterId) throw new Error("a snapshot of another cluster");
      return watchRoster(this, roster);
    };
    const snapshot = storage.snapshot();
    const roster =
      snapshot === null
        ? watchRoster(this, new Roster({ clusterId, eventsLimit: EVENTS_KEPT }))
        : restoreRoster(snapshot);
    const transport = new SimTransport(world, this, storage.identity, {
      onUnreachable: (id) => {
        node.reportUnreachable(id);
      },
      onSnapshotResult: (id, delivered) => {
        node.reportSnapshot(id, delivered);
      },
      onRefused: (id, reason) => {
        this.refusedByPeer(id, reason);
      },
    });
    const node = new Node({
      storage: watchStorage(this, storage),
      roster,
      transport,
      clock,
      defer: (fn) => {
        scheduler.after(random.chance(0.1) ? random.below(2000) : 0, "turn", this, fn);
      },
      random,
      firstReadContext: random.u64(),
      heartbeatMs: profile.heartbeatMs,
      electionMs: profile.electionMs,
      snapshots: {
        everyEntries: profile.snapshotEvery,
        everyBytes: 64 * 1024,
        keepEntries: profile.snapshotKeep,
      },
      restoreRoster,
      log: silentLogger,
    });
    const confChanges = new ConfChangeQueue(node, profile.heartbeatMs, (name, peerUrl) => {
      const target = world.hostAt(peerUrl);
      const waits = target?.member?.phase === "joining" && target.name === name;
      return Promise.resolve(waits && !world.network.isBlocked(host, target));
    });
    const proposals = new Proposals(node, clock, confChanges, 256);
    const writes = new Writes(node, proposals, forwarder, profile.electionMs);
    const reads = new LinearizableReads(node, clock, forwarder, writes, 256, profile.electionMs);
    return { storage, node, transport, proposals, confChanges, writes, reads };
  }

  private async publish(): Promise<void> {
    const { world, clock } = this;
    const { node, storage } = this.must();
    while (this.alive && !this.stopping) {
      const known = node.roster.member(node.id);
      if (known !== null) {
        const body = {
          rpc: "Publish",
          name: known.name,
          id: node.id,
          instanceId: storage.identity.instanceId,
          adminUrl: this.host.adminUrl,
        } as const;
        const operation: WriteOperation = {
          kind: "write",
          body,
          requestId: `publish-${world.random.u64().toString(16)}`,
          expectedRevision: 0,
          validateOnly: false,
        };
        const call = world.history.invoke(operation);
        try {
          const context = new SimContext("Publish", clock, null, world.profile.electionMs, true);
          const answer = await this.serve(operation, context);
          if (!this.alive) return;
          world.history.wrote(call, answer as WriteAnswer);
          return;
        } catch (error) {
          const reason = reasonOf(error);
          if (reason === null) world.fail(error);
          world.history.refused(call, reason ?? "INTERNAL", true);
          if (reason === "MEMBER_WIPED" || reason === "MEMBER_REMOVED") {
            this.refusedByPeer(NO_NODE, reason);
            return;
          }
        }
      }
      await new Promise<void>((resolve) => clock.setTimeout(resolve, PUBLISH_RETRY_MS));
    }
  }

  // --- Input --------------------------------------------------------------------------------------------------------

  receive(from: NodeId, messages: readonly Message[]): void {
    this.must().node.receive(from, messages);
  }

  /** As the handlers do. @throws RefusedError, PassedOnError, CallCancelledError */
  serve(operation: Operation, context: CallContext): Promise<WriteAnswer | RosterAnswer> {
    const { writes, reads, node } = this.must();
    const { world, forwarder, host } = this;
    const forward = forwarder.invocation<never>(operation);
    let proposed = 0;
    if (operation.kind === "cluster") {
      return reads.atLeader<RosterAnswer>(context, forward, () => this.rosterNow());
    }
    return writes.execute<WriteAnswer>(
      {
        isConfChange: isConfChange(operation),
        validateOnly: operation.validateOnly,
        command: () => {
          if (proposed++ > 0) world.coverage.add("write proposed again by its member");
          return commandFor(operation, world.random, host.time.wallMs());
        },
        forward,
        answer: (decision) => {
          const { revision, repeated, changed, member } = decision;
          if (changed) world.checkers.acknowledged(this, operation, revision, node.roster.appliedIndex);
          return { revision, repeated, changed, member };
        },
      },
      context,
    );
  }

  /** A linearizable GetMembers. @throws RefusedError */
  async read(context: CallContext): Promise<RosterAnswer> {
    await this.must().reads.confirm(context);
    return this.rosterNow();
  }

  rosterNow(): RosterAnswer {
    const { roster } = this.must().node;
    return { revision: roster.revision, members: roster.members() };
  }

  // --- The end ------------------------------------------------------------------------------------------------------

  /** Nothing happens any more. */
  die(): void {
    this.alive = false;
    this.phase = "ended";
  }

  end(): void {
    this.die();
    this.host.gone(this);
  }

  /** As SIGTERM: hands over, lets what is in the log finish, closes the log. */
  async stop(): Promise<void> {
    if (this.stopping || this.parts === null) return;
    this.stopping = true;
    const { node, proposals, confChanges } = this.parts;
    proposals.stop();
    const successor = node.isLeader ? confChanges.bestSuccessor() : null;
    if (successor !== null) {
      node.transferLeader(successor);
      await this.waitUntil(() => !node.isLeader);
    }
    await this.waitUntil(() => proposals.size === 0);
    await this.endParts();
  }

  private waitUntil(condition: () => boolean): Promise<void> {
    const { node } = this.must();
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        leave();
        timer.cancel();
        resolve();
      };
      const leave = node.listen({ onLeadership: look, onApplied: look, onTick: look });
      const timer = this.clock.setTimeout(() => {
        leave();
        resolve();
      }, SETTLE_MS);
      look();
    });
  }

  private async endParts(): Promise<void> {
    const { proposals, writes, reads, transport, node, storage } = this.must();
    proposals.abandon();
    writes.stop();
    reads.stop();
    transport.stop();
    node.stop();
    await new Promise<void>((resolve) => {
      storage.close(() => {
        resolve();
      });
    });
    if (this.alive) this.end();
  }

  private refusedByPeer(id: NodeId, reason: string): void {
    const { coverage } = this.world;
    if (this.stopping) return;
    if (reason === "MEMBER_REMOVED") {
      coverage.add("removed member refused");
      this.node.toldRemoved(id, reason);
    } else if (reason === "MEMBER_WIPED") {
      coverage.add("wiped member refused");
      this.host.ended = true;
      this.stopping = true;
      void this.endParts();
    }
  }

  private async endRemoved(): Promise<void> {
    if (this.stopping) return;
    this.stopping = true;
    const { world, fs } = this;
    // From a turn of its own: the loop that found out has to end first.
    await new Promise<void>((resolve) => {
      world.scheduler.after(0, "lifecycle", this, resolve, "removed");
    });
    try {
      await markRemoved(fs, DATA_DIR, { revision: 0, text: "removed" });
      world.coverage.add("member marked as removed");
      this.host.ended = true;
    } catch (error) {
      world.note(`${this.label} could not be marked: ${String(error)}`);
    }
    await this.endParts();
  }

  private endFailed(error: Error): void {
    const { world, fs } = this;
    world.note(`${this.label} fails: ${error.message}`);
    const excused = error instanceof StorageError && error.reason === "io" && fs.faulted;
    if (!excused) {
      const violation = new Violation("never_fails", `${this.label} fails by itself: ${error.message}`);
      violation.stack = error.stack ?? "";
      world.fail(violation);
    }
    world.scheduler.after(0, "lifecycle", this, () => {
      this.end();
    });
  }
}
