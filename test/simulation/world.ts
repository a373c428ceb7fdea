/**
 * All that one run consists of. The parts find each other here; who may change what is said where it is declared.
 */
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

/** Owner of what happens to nobody in particular. */
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
  readonly moments = new Moments();
  readonly nobody = NOBODY;
  /** Events so far. */
  events = 0;
  /** The end of the run: faults are over, and what is broken comes back. */
  healing = false;
  /** The first thing that went wrong. */
  failure: Error | null = null;
  /** Invariants that the last event broke: the failure's, and those that failed with it. */
  readonly broken = new Set<string>();

  constructor(
    readonly seed: number,
    without: ReadonlySet<Fault>,
  ) {
    this.random = new SimRandom(seed);
    this.profile = drawProfile(this.random, without);
    this.network = new Network(this.scheduler, this.random, this.profile, this.coverage);
    this.checkers = new Checkers(this);
  }

  /** The machine that a URL leads to. Host names are unique to machines; ports do not matter. */
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
