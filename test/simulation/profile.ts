/**
 * The parameters of a run: size of the cluster, quality of network, disks and clocks, load by clients and operators. They
 * are drawn from the seed, within the limits of the server's configuration. Every profile has membership changes.
 */
import type { HistoryOptions } from "../../src/roster/index";
import type { SimRandom } from "./random";

/** The faults that --without can turn off, to find a shorter run that still fails. */
export const FAULTS = [
  "loss",
  "repetition",
  "reordering",
  "partition",
  "slow-link",
  "skew",
  "jump",
  "pause",
  "crash",
  "aimed",
  "sync-error",
  "disk-full",
  "descriptors",
  "slow-disk",
  "bit-flip",
  "stop",
  "wipe",
  "old-copy",
  "peer-lies",
  "move",
  "twin",
  "joint",
  "overtaken",
  "churn",
  "replace",
  "transfer",
  "late-request",
  "reads",
  "writes",
] as const;
export type Fault = (typeof FAULTS)[number];

export function isFault(name: string): name is Fault {
  return (FAULTS as readonly string[]).includes(name);
}

/**
 * What a run has more of than others. A rare state needs several things at once: a run that spreads its events over all
 * kinds of faults seldom gets there, and one that has many of the right kind and few others often does.
 */
const FOCUSES = [
  "none",
  "membership",
  "steward",
  "elections",
  "birth",
  "copies",
  "lies",
  "disks",
  "addresses",
  "late attempts",
] as const;
export type Focus = (typeof FOCUSES)[number];

export interface Profile {
  readonly focus: Focus;
  readonly voters: number;
  /** Number of members around which the membership changes keep the cluster. */
  readonly membersMax: number;
  /** Whether faults wait until the cluster has its first leader. */
  readonly calmBirth: boolean;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  /** Longest usual delay of a message in one direction. */
  readonly delayUsMax: number;
  readonly loss: number;
  readonly repetition: number;
  readonly reordering: number;
  /** How often a call's connection breaks and the call still arrives, much later. */
  readonly lateRequests: number;
  /** How much is remembered of writes. */
  readonly memory: HistoryOptions;
  /** Most writes, and most reads, that may wait on a member. */
  readonly waitingMax: number;
  readonly writeUs: number;
  readonly syncUs: number;
  readonly segmentBytes: number;
  readonly snapshotEvery: number;
  readonly snapshotKeep: number;
  readonly clients: number;
  /** Mean pause of a client between two calls, in virtual milliseconds. */
  readonly thinkMs: number;
  /** Mean time between two faults, in virtual milliseconds. */
  readonly faultMs: number;
  /** Mean time between two membership changes, in virtual milliseconds. */
  readonly churnMs: number;
  readonly skew: number;
  readonly without: ReadonlySet<Fault>;
}

/** Number of roster events kept for watches: few, so that snapshots stay small. Fewer in some runs. */
const EVENTS_KEPT = 64;
const LARGE_MEMORY: HistoryOptions = { eventsLimit: EVENTS_KEPT };
/**
 * Outcomes are forgotten during a run. An attempt comes at most 6 s late and waits at most 8 s, so they are kept for longer
 * than that, with room for skewed clocks and leaps.
 */
const SMALL_MEMORY: HistoryOptions = { ...LARGE_MEMORY, outcomesLimit: 20, outcomesKeptMs: 20_000 };
/** There is not always room for another outcome. */
const SMALL_ROOM: HistoryOptions = { ...SMALL_MEMORY, outcomesBytesMax: 12_000 };

/** How often each focus is drawn. */
const FOCUS_WEIGHTS: Readonly<Record<Focus, number>> = {
  none: 9,
  membership: 4,
  steward: 6,
  elections: 3,
  birth: 2,
  copies: 3,
  lies: 2,
  disks: 3,
  addresses: 1,
  "late attempts": 1,
};

/** What a focus changes of a profile that was drawn. Fewer calls leave more time in as many events. */
const IN_FOCUS: Readonly<Record<Focus, (random: SimRandom) => Partial<Profile>>> = {
  none: () => ({}),
  membership: (random) => ({
    voters: random.pick([1, 2, 3, 3, 3, 3, 5]) ?? 3,
    delayUsMax: random.pick([500, 2_000, 10_000]) ?? 2_000,
    electionMs: 500,
    clients: random.between(1, 2),
    thinkMs: 500,
    faultMs: 1000,
    churnMs: 200,
  }),
  // What the leader does by itself takes two election timeouts each time: calm enough that it comes about.
  steward: (random) => ({
    voters: random.pick([3, 3, 3, 4, 5]) ?? 3,
    delayUsMax: random.pick([500, 2_000, 10_000]) ?? 2_000,
    electionMs: 500,
    clients: random.between(1, 2),
    thinkMs: 500,
    faultMs: random.pick([1000, 2000]) ?? 2000,
    churnMs: random.pick([200, 400]) ?? 400,
  }),
  elections: (random) => ({
    voters: random.pick([3, 3, 4, 5]) ?? 3,
    electionMs: 500,
    clients: random.between(1, 3),
    thinkMs: random.pick([100, 300]) ?? 100,
    faultMs: random.pick([300, 1000]) ?? 300,
    churnMs: 2000,
  }),
  birth: (random) => ({
    voters: random.pick([3, 3, 3, 4, 5]) ?? 3,
    clients: random.between(1, 2),
    thinkMs: 100,
  }),
  copies: (random) => ({
    voters: random.pick([3, 3, 3, 4]) ?? 3,
    electionMs: 500,
    clients: 1,
    thinkMs: random.pick([100, 200]) ?? 200,
    faultMs: random.pick([500, 1000]) ?? 1000,
    churnMs: 4000,
    // Faults with copies wait until every other member's snapshot has what the copy lacks.
    snapshotEvery: random.between(4, 8),
    memory: random.pick([LARGE_MEMORY, LARGE_MEMORY, SMALL_MEMORY]) ?? LARGE_MEMORY,
  }),
  lies: (random) => ({
    voters: random.pick([3, 3, 5]) ?? 3,
    clients: random.between(1, 2),
    thinkMs: 300,
    faultMs: 1000,
    churnMs: 4000,
  }),
  disks: (random) => ({
    clients: random.between(1, 3),
    thinkMs: random.pick([100, 300]) ?? 100,
    faultMs: random.pick([100, 300]) ?? 300,
    churnMs: 300,
    calmBirth: true,
    // A run with few writes reaches the end of a segment too.
    segmentBytes: 6 * 1024,
  }),
  addresses: (random) => ({
    voters: random.pick([2, 3, 3, 4]) ?? 3,
    electionMs: 500,
    clients: random.between(1, 2),
    thinkMs: 300,
    faultMs: 1000,
    churnMs: 1000,
  }),
  "late attempts": (random) => ({
    voters: random.pick([2, 3, 3, 4]) ?? 3,
    electionMs: 500,
    clients: random.between(2, 4),
    thinkMs: 200,
    lateRequests: 0.2,
    faultMs: 2000,
    churnMs: 200,
  }),
};

function drawFocus(random: SimRandom): Focus {
  let at = random.below(FOCUSES.reduce((sum, focus) => sum + FOCUS_WEIGHTS[focus], 0));
  return FOCUSES.find((focus) => (at -= FOCUS_WEIGHTS[focus]) < 0) ?? "none";
}

export function drawProfile(random: SimRandom, without: ReadonlySet<Fault>): Profile {
  const focus = drawFocus(random);
  const drawn = { ...drawBase(random, without), ...IN_FOCUS[focus](random), focus };
  return {
    ...drawn,
    memory: { ...drawn.memory, eventsLimit: random.pick([12, EVENTS_KEPT, EVENTS_KEPT]) ?? EVENTS_KEPT },
    membersMax: Math.min(9, drawn.voters + random.between(1, 3)),
    lateRequests: without.has("late-request") ? 0 : drawn.lateRequests,
  };
}

function drawBase(random: SimRandom, without: ReadonlySet<Fault>): Omit<Profile, "focus" | "membersMax"> {
  const voters = random.pick([1, 2, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7]) ?? 3;
  const rough = random.below(4);
  const probability = (max: number): number => (random.chance(0.4) ? 0 : random.below(1000) * (max / 1000));
  const on = (fault: Fault, value: number): number => (without.has(fault) ? 0 : value);
  return {
    voters,
    calmBirth: random.chance(0.7),
    heartbeatMs: 100,
    electionMs: random.pick([500, 1000, 1000]) ?? 1000,
    delayUsMax: random.pick([500, 2_000, 10_000, 40_000]) ?? 2_000,
    loss: on("loss", probability(0.1)),
    repetition: on("repetition", probability(0.1)),
    reordering: on("reordering", probability(0.2)),
    lateRequests: on("late-request", random.pick([0, 0.02, 0.1]) ?? 0),
    memory: random.pick([LARGE_MEMORY, SMALL_MEMORY, SMALL_MEMORY, SMALL_ROOM]) ?? LARGE_MEMORY,
    // So few in some runs that calls are turned away.
    waitingMax: random.pick([12, 1000, 1000]) ?? 1000,
    writeUs: random.pick([20, 100, 500]) ?? 100,
    syncUs: random.pick([500, 2_000, 8_000, 30_000]) ?? 2_000,
    segmentBytes: random.pick([8, 16, 32]) === 8 ? 16 * 1024 : 32 * 1024,
    snapshotEvery: random.between(8, 60),
    snapshotKeep: random.pick([0, 3, 20, 50]) ?? 20,
    clients: random.between(1, 6),
    thinkMs: random.pick([30, 100, 300]) ?? 100,
    faultMs: [100, 300, 1000, 4000][rough] ?? 300,
    churnMs: random.pick([300, 800, 2000]) ?? 1200,
    skew: on("skew", random.pick([0, 0.01, 0.1]) ?? 0),
    without,
  };
}
