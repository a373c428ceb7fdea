/**
 * A live view of the roster: reads without an RPC, from a copy that one watch keeps.
 *
 * Invariants: the view never goes backwards: a roster or a change with a lower revision than the view's is ignored. All changes
 * of one revision become visible at once. What it returns is frozen and may be kept.
 */
import { status } from "@grpc/grpc-js";
import type { Member } from "../generated/muster/v1/member";
import { MemberEventKind } from "../generated/muster/v1/membership_service";
import type { MemberEvent } from "../generated/muster/v1/membership_service";
import { linkedAbort } from "./abort";
import type { Caller } from "./caller";
import type { Clock } from "./clock";
import { MusterError } from "./errors";
import { asMusterError } from "./failures";
import type { SeenRoster } from "./pool";
import { pauseMs } from "./retry";
import { WatchCursor, watchSteps } from "./watch";
import type { WatchStep } from "./watch";

/** Something of the view changed. */
export interface MembersChange {
  /**
   * "roster": the first one came. "reset": a new roster came, and the changes up to it are not known as events. "events": the
   * members or the settings of the cluster changed. "leader": another one leads. "fresh", "stale": see MembersView.fresh.
   */
  readonly kind: "roster" | "reset" | "events" | "leader" | "fresh" | "stale";
  /** The view's revision. */
  readonly revision: bigint;
  /** The changes, oldest first; empty unless `kind` is "events". One of the settings (MemberEventKind.SETTINGS) has no member. */
  readonly events: readonly MemberEvent[];
}

/** How long to wait for the view. */
export interface ViewWaitOptions {
  /** Milliseconds. @default the client's timeoutMs */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait with CANCELLED. @default none */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The members as a watch keeps them. Starts with the first use of any of its methods or fields and lasts until the client is
 * closed. Reads make no RPC, and are not linearizable: the view is behind the cluster by the time a change takes to arrive, or
 * since it is stale. After a write, `waitFor(header.revision)` makes sure that the view has it.
 */
export interface MembersView {
  /** The members, sorted by id as numbers. Empty before the first roster came. */
  all(): readonly Member[];
  /** The member of this name. */
  byName(name: string): Member | undefined;
  /** The member of this id: hex digits, in lower case and without leading zeros. */
  byId(id: string): Member | undefined;
  /** The member that leads; undefined: none is known. */
  readonly leader: Member | undefined;
  /** The roster's revision; 0n before the first roster came. */
  readonly revision: bigint;
  /**
   * Whether a stream is open, its member knows a leader, and that member is not behind the view. Otherwise the view shows
   * what was last known.
   */
  readonly fresh: boolean;
  /** For how many milliseconds the view has not been fresh; 0 while it is. Before the first roster: since the view started. */
  readonly staleForMs: number;
  /** Why there is no stream; undefined while there is one, or when it is not known yet. */
  readonly error: MusterError | undefined;
  /** Resolves when the first roster has come. @throws MusterError: DEADLINE_EXCEEDED, CANCELLED, or why it can't be had */
  ready(options?: ViewWaitOptions): Promise<void>;
  /**
   * Resolves when the view has this revision. The revision of a write that changed nothing is never reached.
   * @throws MusterError: DEADLINE_EXCEEDED, CANCELLED, or why the roster can't be watched
   */
  waitFor(revision: bigint, options?: ViewWaitOptions): Promise<void>;
  /**
   * Calls the listener after each change. An exception of a listener is not caught here: it becomes an uncaught one.
   * @returns ends the calls
   */
  onChange(listener: (change: MembersChange) => void): () => void;
}

interface ViewDeps {
  readonly caller: Caller;
  /** Rules pauses; tells how long the view is stale. */
  readonly clock: Clock;
  /** Rules the time of ready() and waitFor(). */
  readonly waitClock: Clock;
  readonly random: () => number;
  /** Milliseconds, of ready() and waitFor(). */
  readonly timeoutMs: number;
  /** Is shown every roster. */
  readonly onRoster: (roster: SeenRoster) => void;
}

interface Waiting {
  readonly revision: bigint;
  resolve(): void;
  reject(error: MusterError): void;
}

const NO_EVENTS: readonly MemberEvent[] = [];

/** What the view shows. A new one for each change. */
class Snapshot {
  readonly sorted: readonly Member[];
  readonly byId: ReadonlyMap<string, Member>;
  readonly byName: ReadonlyMap<string, Member>;

  constructor(
    readonly revision: bigint,
    members: Iterable<Member>,
  ) {
    const sorted = [...members].sort((a, b) => compareIds(a.id, b.id));
    for (const member of sorted) {
      Object.freeze(member.peerUrls);
      Object.freeze(member.adminUrls);
      Object.freeze(member);
    }
    this.sorted = Object.freeze(sorted);
    this.byId = new Map(sorted.map((member) => [member.id, member]));
    this.byName = new Map(sorted.map((member) => [member.name, member]));
  }

  /** The members after the events; null: an event does not say whom it concerns, so they are not known. */
  after(events: readonly MemberEvent[], revision: bigint): Snapshot | null {
    const members = new Map(this.byId);
    for (const { kind, member, previous } of events) {
      if (kind !== MemberEventKind.REMOVED) {
        // A change of the settings has none.
        if (member !== undefined) members.set(member.id, member);
        continue;
      }
      const gone = previous ?? member;
      if (gone === undefined) return null;
      members.delete(gone.id);
    }
    return new Snapshot(revision, members.values());
  }
}

/** Ids are hex numbers without leading zeros: the longer one is the larger one. */
function compareIds(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : 1);
}

export class LiveMembers implements MembersView {
  private snapshot: Snapshot | null = null;
  private leaderId = "";
  private term = 0n;
  private failure: MusterError | undefined;
  /** Whether the member of the stream knows a leader, as far as it said. */
  private hasLeader = false;
  /** Whether it has yet to reach the view's revision, or has not said where it is. */
  private isBehind = true;
  private isFresh = false;
  private staleSince = 0;
  private clusterId = "";
  /** Whether the next watch begins with the roster, although the view has one. */
  private resync = false;
  private readonly stop = new AbortController();
  private started = false;
  private readonly listeners = new Set<(change: MembersChange) => void>();
  private readonly waiting = new Set<Waiting>();

  constructor(private readonly deps: ViewDeps) {}

  all(): readonly Member[] {
    return this.current()?.sorted ?? [];
  }

  byName(name: string): Member | undefined {
    return this.current()?.byName.get(name);
  }

  byId(id: string): Member | undefined {
    return this.current()?.byId.get(id);
  }

  get leader(): Member | undefined {
    return this.current()?.byId.get(this.leaderId);
  }

  get revision(): bigint {
    return this.current()?.revision ?? 0n;
  }

  get fresh(): boolean {
    this.start();
    return this.isFresh;
  }

  get staleForMs(): number {
    this.start();
    return this.isFresh ? 0 : this.deps.clock.now() - this.staleSince;
  }

  get error(): MusterError | undefined {
    this.start();
    return this.failure;
  }

  ready(options: ViewWaitOptions = {}): Promise<void> {
    return this.wait(0n, options);
  }

  waitFor(revision: bigint, options: ViewWaitOptions = {}): Promise<void> {
    return this.wait(revision, options);
  }

  onChange(listener: (change: MembersChange) => void): () => void {
    this.start();
    // One entry for each call: the same function may be given twice.
    const entry = (change: MembersChange): void => {
      listener(change);
    };
    this.listeners.add(entry);
    return () => {
      this.listeners.delete(entry);
    };
  }

  /** Ends the watch; those who wait get CANCELLED. */
  close(): void {
    this.started = true;
    this.stop.abort();
    this.lost(closed());
    this.refuseWaiting(closed());
  }

  private current(): Snapshot | null {
    this.start();
    return this.snapshot;
  }

  private start(): void {
    if (this.started) return;
    this.started = true;
    this.staleSince = this.deps.clock.now();
    void this.run();
  }

  /** Watches until the view is closed, also after an error that would end another watch: its cause may pass. */
  private async run(): Promise<void> {
    const { clock, random } = this.deps;
    const { signal } = this.stop;
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.follow(() => (failures = 0));
      } catch (thrown) {
        const error = asMusterError(thrown, { requestId: undefined });
        if (this.stop.signal.aborted) return;
        this.lost(error);
        this.refuseWaiting(error);
        await clock.sleep(pauseMs(error, ++failures, 1, random()), signal);
      }
    }
  }

  /** One watch, until it fails or the roster has to be fetched anew. */
  private async follow(onStep: () => void): Promise<void> {
    const cursor = new WatchCursor(this.snapshot?.revision ?? 0n, { withLeader: true, withProgress: true });
    const lost = (error: MusterError): void => {
      this.lost(error);
    };
    if (this.resync) cursor.loseHistory();
    for await (const step of watchSteps(this.deps.caller, cursor, this.stop.signal, lost)) {
      onStep();
      if (!this.take(step)) {
        this.resync = true;
        return;
      }
    }
  }

  /** @returns false: the change can't be applied */
  private take(step: WatchStep): boolean {
    const { header } = step;
    if (header.clusterId !== "") this.clusterId = header.clusterId;
    if (step.kind === "roster" || step.kind === "reset") {
      this.resync = false;
      this.show(new Snapshot(step.revision, step.members), step.kind, NO_EVENTS);
      if (header.leaderId !== "") this.lead(header.leaderId, header.raftTerm);
    } else if (step.kind === "events") {
      const { revision, events } = step;
      const next = this.snapshot?.after(events, revision) ?? null;
      if (next === null) return false;
      this.show(next, "events", events);
    } else if (step.kind === "leader") {
      this.lead(step.leaderId ?? "", step.term);
    }
    if (step.kind === "progress") {
      this.hasLeader = step.hasLeader;
      this.isBehind = header.revision < (this.snapshot?.revision ?? 0n);
    } else if (step.kind === "leader") {
      this.hasLeader = step.leaderId !== undefined;
    } else {
      this.hasLeader ||= header.leaderId !== "";
      this.isBehind = false;
    }
    this.failure = undefined;
    this.freshen();
    return true;
  }

  private show(next: Snapshot, kind: "roster" | "reset" | "events", events: readonly MemberEvent[]): void {
    const { revision, sorted: members } = next;
    if (this.snapshot !== null && revision <= this.snapshot.revision) return;
    this.snapshot = next;
    this.deps.onRoster({ clusterId: this.clusterId, revision, members });
    this.notify(kind, events);
    for (const one of [...this.waiting]) if (one.revision <= revision) one.resolve();
  }

  /** Ignores what a member of an older term says. */
  private lead(leaderId: string, term: bigint): void {
    if (term < this.term) return;
    this.term = term;
    if (leaderId === this.leaderId) return;
    this.leaderId = leaderId;
    this.notify("leader", NO_EVENTS);
  }

  private lost(error: MusterError): void {
    this.failure = error;
    this.hasLeader = false;
    this.isBehind = true;
    this.freshen();
  }

  private freshen(): void {
    const fresh = this.hasLeader && !this.isBehind;
    if (fresh === this.isFresh) return;
    this.isFresh = fresh;
    if (!fresh) this.staleSince = this.deps.clock.now();
    this.notify(fresh ? "fresh" : "stale", NO_EVENTS);
  }

  private notify(kind: MembersChange["kind"], events: readonly MemberEvent[]): void {
    const change = { kind, revision: this.snapshot?.revision ?? 0n, events };
    for (const listener of [...this.listeners]) {
      try {
        listener(change);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  private refuseWaiting(error: MusterError): void {
    for (const one of [...this.waiting]) one.reject(error);
  }

  private async wait(revision: bigint, options: ViewWaitOptions): Promise<void> {
    this.start();
    const { timeoutMs = this.deps.timeoutMs, signal } = options;
    if (this.snapshot !== null && this.snapshot.revision >= revision) return;
    if (this.stop.signal.aborted) throw closed();
    const over = linkedAbort(signal);
    const timer = new AbortController();
    const settled = new Promise<void>((resolve, reject) => {
      const waiting: Waiting = { revision, resolve, reject };
      this.waiting.add(waiting);
      const end = (error: MusterError): void => {
        reject(error);
      };
      const cancel = (): void => {
        const message = "the caller cancelled the call";
        end(new MusterError({ code: status.CANCELLED, message }));
      };
      if (over.signal.aborted) cancel();
      else over.signal.addEventListener("abort", cancel, { once: true });
      timer.signal.addEventListener("abort", () => this.waiting.delete(waiting), { once: true });
      void this.deps.waitClock.sleep(timeoutMs, timer.signal).then(() => {
        if (!timer.signal.aborted) end(this.late(revision, timeoutMs));
      });
    });
    try {
      await settled;
    } finally {
      timer.abort();
      over.release();
    }
  }

  private late(revision: bigint, timeoutMs: number): MusterError {
    const { snapshot, failure } = this;
    const within = `within ${String(timeoutMs)} ms`;
    const what =
      snapshot === null
        ? `no roster ${within}`
        : `not at revision ${String(revision)} ${within}, but at ${String(snapshot.revision)}`;
    const message = failure === undefined ? what : `${what}: ${failure.message}`;
    return new MusterError({ code: status.DEADLINE_EXCEEDED, message, cause: failure });
  }
}

function closed(): MusterError {
  return new MusterError({ code: status.CANCELLED, message: "the client is closed" });
}
