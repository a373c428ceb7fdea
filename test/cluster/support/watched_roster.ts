/** Watches over a roster that the test changes; time, turns of the event loop and readers are the test's. */
import { OpenCall } from "../../../src/base/call";
import { Deadline } from "../../../src/base/deadline";
import { WaitingRoom } from "../../../src/cluster/waiting_room";
import { Watches } from "../../../src/cluster/watch/watches";
import { WatchMembersResponse } from "../../../src/generated/muster/v1/membership_service";
import type { NodeId } from "../../../src/raft/index";
import type { ReplicaListener, ReplicaView } from "../../../src/replica/view";
import { type Roster } from "../../../src/roster/index";
import type { RosterCommand, WatchFields } from "../../../src/roster/index";
import { ManualClock } from "../../base/support/manual_clock";
import { accepted, apply, rosterOf } from "../../roster/support/log";

/** The caller of one watch: keeps what comes. One that is stopped takes the next message and no further one. */
export class Reader {
  readonly messages: WatchMembersResponse[] = [];
  readonly buffers: Buffer[] = [];
  /** What ended the watch; null while it is open. */
  error: Error | null = null;
  isStopped = false;
  private taken: (() => void) | null = null;

  constructor(private readonly call: OpenCall) {}

  push(message: WatchMembersResponse | Buffer, taken: () => void): void {
    if (this.taken !== null) throw new Error("two messages at once");
    if (!Buffer.isBuffer(message)) throw new Error("a message that is not encoded");
    this.buffers.push(message);
    this.messages.push(WatchMembersResponse.decode(message));
    this.taken = taken;
  }

  /** Takes the message that waits. */
  read(): boolean {
    const { taken } = this;
    if (taken === null || this.isStopped) return false;
    this.taken = null;
    taken();
    return true;
  }

  cancel(): void {
    this.call.cancel();
  }

  /** The revisions of all events, in the order in which they came. */
  get revisions(): number[] {
    return this.messages.flatMap(({ part }) =>
      part?.$case === "events" ? part.value.events.map(({ revision }) => Number(revision)) : [],
    );
  }

  /** The messages in short. */
  get story(): string[] {
    return this.messages.map(({ header, part }) => {
      const at = String(header?.revision);
      if (part?.$case === "events")
        return `${part.value.events.map(({ revision }) => String(revision)).join()} @${at}`;
      if (part?.$case === "leader") return `leader ${part.value.leaderId || "none"} @${at}`;
      if (part?.$case === "progress") return `mark${part.value.hasLeader ? "" : " without leader"} @${at}`;
      return `${part?.$case ?? "nothing"} @${at}`;
    });
  }
}

const ROSTER_AND_CHANGES: WatchFields = { startRevision: null, withLeader: false, withProgress: false };

export class WatchedRoster {
  roster: Roster;
  readonly clock = new ManualClock();
  readonly watches: Watches;
  readonly readers: Reader[] = [];
  readonly room: WaitingRoom;
  /** Turns of the event loop that were run. */
  turns = 0;
  private deferred: (() => void)[] = [];
  private readonly listeners: ReplicaListener[] = [];
  private readonly replica: {
    -readonly [K in "id" | "clusterId" | "term" | "leader"]: ReplicaView[K];
  } & Pick<ReplicaView, "roster" | "listen">;

  constructor({ eventsLimit = 100, watchesMax = 20_000 } = {}) {
    this.roster = rosterOf(3, { eventsLimit });
    this.room = new WaitingRoom("watches", watchesMax);
    const current = (): Roster => this.roster;
    this.replica = {
      id: 1n,
      clusterId: 0xc1n,
      term: 4,
      leader: 2n,
      get roster() {
        return current();
      },
      listen: (listener) => {
        this.listeners.push(listener);
        return () => undefined;
      },
    };
    this.watches = new Watches({
      replica: this.replica as unknown as ReplicaView,
      changes: current,
      clock: this.clock,
      defer: (fn) => this.deferred.push(fn),
      room: this.room,
    });
  }

  watch(fields: Partial<WatchFields> = {}): Reader {
    const deadline = Deadline.of(this.clock, null, 1000);
    const call = new OpenCall({ method: "WatchMembers", deadline });
    const reader = new Reader(call);
    this.readers.push(reader);
    this.watches.watch({ ...ROSTER_AND_CHANGES, ...fields }, call, reader).catch((error: unknown) => {
      reader.error = error as Error;
    });
    return reader;
  }

  /** Applies changes, as one batch of entries. */
  change(...commands: RosterCommand[]): void {
    for (const command of commands) accepted(apply(this.roster, command).decision);
    for (const { onApplied } of this.listeners) onApplied?.();
  }

  /** Another roster takes the place of this one, as when a snapshot of the leader's is installed. */
  install(roster: Roster): void {
    this.roster = roster;
    for (const { onApplied } of this.listeners) onApplied?.();
  }

  leader(leader: NodeId): void {
    this.replica.leader = leader;
    this.replica.term++;
    for (const { onLeadership } of this.listeners) onLeadership?.();
  }

  /** One turn of the event loop. @returns whether there was anything to do */
  turn(): boolean {
    const now = this.deferred;
    this.deferred = [];
    if (now.length > 0) this.turns++;
    for (const fn of now) fn();
    return now.length > 0;
  }

  /** Runs until nobody has anything to do: everything is written, and read by those that read. */
  settle(): void {
    for (let busy = true; busy;) {
      busy = this.turn();
      for (const reader of this.readers) busy = reader.read() || busy;
    }
  }
}
