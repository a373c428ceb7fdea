/**
 * The parts of one run, through which they find each other.
 */
import type { MemberRecord } from "../../src/roster/index";
import { SimRandom } from "./random";
import { Scheduler } from "./scheduler";
import type { Owner } from "./scheduler";
import { Coverage } from "./coverage";
import { Trace } from "./trace";
import { Network } from "./network";
import { drawProfile } from "./profile";
import type { Fault, Profile } from "./profile";
import type { Host } from "./host";
import { Checkers } from "./checkers";
import { History } from "./history";
import { Moments } from "./moments";
import { RosterLog } from "./roster_log";
import { Watchers } from "./watchers";

/** Whether the roster's peer URL of this member does not lead to its machine. */
export function isAstray(world: World, { id, peerUrls }: MemberRecord): boolean {
  const own = world.hosts.find((host) => host.id === id);
  return own !== undefined && world.hostAt(peerUrls[0] ?? "") !== own;
}

/** The owner of events that belong to no machine. */
const NOBODY: Owner = { number: -2, label: "", alive: true, pausedUntilUs: 0 };

export class World {
  readonly random: SimRandom;
  readonly scheduler = new Scheduler();
  readonly coverage = new Coverage();
  readonly trace = new Trace();
  readonly profile: Profile;
  readonly network: Network;
  readonly hosts: Host[] = [];
  readonly checkers: Checkers;
  readonly history = new History();
  readonly log = new RosterLog();
  readonly watchers: Watchers;
  readonly moments = new Moments();
  readonly nobody = NOBODY;
  /** How often a write with each request id was submitted to a leader. */
  readonly submitted = new Map<string, number>();
  /** Request ids of writes that were refused for good. */
  readonly refused = new Set<string>();
  /** The member's update revision in the leader's answer, by request id. */
  readonly decided = new Map<string, number>();
  /** Id and peer URL of each member that moved and for which the leader changed the roster. */
  readonly moved = new Set<string>();
  /** How often a machine's clocks jumped ahead. */
  clockJumps = 0;
  /** Number of events so far. */
  events = 0;
  /** Whether the faults have ended and the cluster is recovering for the final checks. */
  healing = false;
  /** Whether the cluster has had a leader. */
  formed = false;
  /** The first failure of the run. */
  failure: Error | null = null;
  /** The invariants that the last event broke; `failure` is about the first of them. */
  readonly broken = new Set<string>();

  constructor(
    readonly seed: number,
    without: ReadonlySet<Fault>,
  ) {
    this.random = new SimRandom(seed);
    this.profile = drawProfile(this.random, without);
    this.network = new Network(this.scheduler, this.random, this.profile, this.coverage);
    this.checkers = new Checkers(this);
    this.watchers = new Watchers(this);
  }

  /** The machine with the URL's host name. Every machine has one host name; ports do not matter. */
  hostAt(url: string): Host | null {
    const name = url.slice(url.indexOf("//") + 2, url.lastIndexOf(":"));
    return this.hosts.find((host) => host.address === name) ?? null;
  }

  fail(error: unknown): void {
    this.failure ??= error instanceof Error ? error : new Error(String(error));
  }

  has(fault: Fault): boolean {
    return !this.profile.without.has(fault);
  }

  note(text: string): void {
    this.trace.note(this.events, this.scheduler.nowUs, text);
  }
}
