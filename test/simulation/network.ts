/**
 * The simulated network: carries batches of Raft messages, snapshots, and calls between members and from clients, and
 * delays, loses, repeats and reorders them. Machines are found by the host name of a URL.
 *
 * Between two machines messages keep their order, as on a stream, unless the profile reorders them.
 */
import type { Message } from "../../src/raft/index";
import type { Coverage } from "./coverage";
import type { Profile } from "./profile";
import type { SimRandom } from "./random";
import type { EventKind, Owner, Scheduler } from "./scheduler";

/** An endpoint of the network. */
export interface Machine extends Owner {
  /** Number of the host. */
  readonly number: number;
}

/** The endpoint of all clients, which no partition affects. */
export const CLIENT: Machine = { number: -1, label: "client", alive: true, pausedUntilUs: 0 };

export interface CarryOptions {
  /** Called some time later when the message does not arrive. */
  readonly lost?: () => void;
  /** Additional time for the message's size, in microseconds. */
  readonly extraUs?: number;
  readonly detail?: unknown;
  /** Whether the message is never repeated, as for a call and its answer. */
  readonly once?: boolean;
}

interface Link {
  blocked: boolean;
  slowness: number;
  lastArrivalUs: number;
}

/** Most delay of a request whose connection broke, in microseconds; shorter than outcomes are kept (profile.ts). */
const LATE_REQUEST_US = 6_000_000;
/** A delay of several election timeouts, in microseconds. */
const VERY_LATE_US = 4_000_000;

export class Network {
  /** Set when the faults end: from then on every message arrives, in order, and a fault that comes late has no effect. */
  perfect = false;
  private readonly links = new Map<number, Link>();

  constructor(
    private readonly scheduler: Scheduler,
    private readonly random: SimRandom,
    private readonly profile: Profile,
    private readonly coverage: Coverage,
  ) {}

  block(from: Machine, to: Machine): void {
    if (!this.perfect) this.link(from, to).blocked = true;
  }

  slow(from: Machine, to: Machine, slowness: number): void {
    if (!this.perfect) this.link(from, to).slowness = slowness;
  }

  heal(): void {
    for (const link of this.links.values()) {
      link.blocked = false;
      link.slowness = 1;
    }
  }

  isBlocked(from: Machine, to: Machine): boolean {
    return this.links.get(key(from, to))?.blocked ?? false;
  }

  /**
   * Sends a message from one machine to another: `arrive` runs at the receiver, possibly late, twice or never.
   */
  carry(kind: EventKind, from: Machine, to: Machine, arrive: () => void, options: CarryOptions): void {
    const { random, profile, coverage, perfect } = this;
    const link = this.link(from, to);
    const { lost, extraUs = 0, detail = null, once = false } = options;
    if (link.blocked || (!perfect && random.chance(profile.loss))) {
      if (!link.blocked) coverage.add("message lost");
      if (lost !== undefined) this.scheduler.after(this.delay(link), "report", from, lost, "lost");
      return;
    }
    if (kind === "request" && !perfect && random.chance(profile.lateRequests)) {
      this.carryLate(from, to, arrive, options);
      return;
    }
    const reorder = !perfect && random.chance(profile.reordering);
    if (reorder) coverage.add("message reordered");
    let arrivalUs = this.scheduler.nowUs + this.delay(link) + extraUs;
    if (reorder) arrivalUs += this.lateness(20);
    else link.lastArrivalUs = arrivalUs = Math.max(arrivalUs, link.lastArrivalUs);
    const deliver = (): void => {
      // The link may have been blocked while the message was under way.
      if (link.blocked) lost?.();
      else arrive();
    };
    this.scheduler.after(arrivalUs - this.scheduler.nowUs, kind, to, deliver, detail);
    if (!perfect && !once && random.chance(profile.repetition)) {
      coverage.add("message repeated");
      const again = arrivalUs - this.scheduler.nowUs + this.lateness(10);
      this.scheduler.after(again, kind, to, deliver, detail);
    }
  }

  /** The connection of a call breaks, and the call arrives when its caller has long turned to another member. */
  private carryLate(from: Machine, to: Machine, arrive: () => void, { lost, detail }: CarryOptions): void {
    this.coverage.add("request arrives late");
    const link = this.link(from, to);
    if (lost !== undefined) this.scheduler.after(this.delay(link), "report", from, lost, "lost");
    this.scheduler.after(this.random.between(200_000, LATE_REQUEST_US), "request", to, arrive, detail);
  }

  /** A few times the usual delay; sometimes seconds, so that messages of one term arrive in a later one. */
  private lateness(delays: number): number {
    const { random, profile } = this;
    return random.below(random.chance(0.25) ? VERY_LATE_US : delays * profile.delayUsMax);
  }

  /** A one-off delay between two machines. */
  delayBetween(from: Machine, to: Machine): number {
    return this.delay(this.link(from, to));
  }

  private delay(link: Link): number {
    const { delayUsMax } = this.profile;
    return this.random.between(Math.ceil(delayUsMax / 5), delayUsMax) * link.slowness;
  }

  private link(from: Machine, to: Machine): Link {
    const at = key(from, to);
    let link = this.links.get(at);
    if (link === undefined) this.links.set(at, (link = { blocked: false, slowness: 1, lastArrivalUs: 0 }));
    return link;
  }
}

function key(from: Machine, to: Machine): number {
  return (from.number + 1) * 4096 + to.number + 1;
}

/** Approximate size of a message in bytes, for its transfer time. */
export function sizeOf(message: Message): number {
  return message.snapshot === null ? 0 : message.snapshot.data.length;
}
