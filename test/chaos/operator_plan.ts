/**
 * The plan of the random operator: which operation comes next. Pure: the choice follows from the seed, the number of the
 * operation and a view of the cluster. Each operation draws from a generator of its own, so that a run that differs in one
 * outcome chooses alike again where the view is alike.
 *
 * Calls are chosen however harmful they are: the cluster has to refuse what would cost its quorum. Damage (stop, kill, lost
 * or old directories, full disks) is bounded: the voters that are left intact, running and reachable stay a majority.
 */
import { SeededRandom } from "../../src/raft/index";

/**
 * Operations that have reached a fault of the product, by number of the list of faults that the run's report names. All are
 * mended; a fault that is not is switched off here until it is. A run also leaves out what `--without` names.
 */
export const FLAGS = {
  /** Two updates to URLs that lead nowhere cost the quorum. */
  updateBad: { item: 1, on: true },
  /** A member that is added under another spelling of its URL never recognises itself. */
  addAlias: { item: 2, on: true },
  /** A member that starts at another address than its roster has is not found again. */
  moveOne: { item: 4, on: true },
  moveAll: { item: 4, on: true },
  /** A founder that loses its disk before another one ever ran forms the cluster a second time. */
  wipeAtBirth: { item: 5, on: true },
  /** A directory that is put back from an older copy votes and acknowledges again. */
  rollBack: { item: 6, on: true },
  /** A copied directory at another address: one identity twice. */
  twin: { item: 8, on: true },
  /** A leader with a full disk goes on to lead and refuses every write. */
  fillLeader: { item: 15, on: true },
} as const;

export type Flag = keyof typeof FLAGS;

/** What the plan knows of one member. */
export interface MemberView {
  readonly name: string;
  /** In the roster. */
  readonly listed: boolean;
  readonly voter: boolean;
  readonly leads: boolean;
  readonly running: boolean;
  /** Its directory is there and was never doubled or put back. */
  readonly intact: boolean;
  /** A voter that runs at the roster's URL with an intact directory: the cluster must be able to count on it. */
  readonly healthy: boolean;
  /** The roster has another peer URL than the one at which it listens. */
  readonly elsewhere: boolean;
  /** Older copies of its directory. */
  readonly copies: number;
}

export interface ClusterView {
  /** Members in the roster and those that the operator holds besides. */
  readonly members: readonly MemberView[];
  /** Directories of removed members. */
  readonly removed: readonly string[];
  /** Whether data directories lie on disks that can be filled. */
  readonly smallDisks: boolean;
}

export interface Operation {
  readonly kind: Kind;
  /** The member's name; empty for an operation on none or on all. */
  readonly target: string;
  /** For the choices within the operation. */
  readonly draw: number;
}

/** Most members that the operator lets the roster have. */
const MEMBERS_MAX = 5;

interface KindRule {
  readonly weight: number | ((view: ClusterView) => number);
  /** The members that it may concern; `true` for an operation without a target. */
  readonly targets: (view: ClusterView) => readonly string[] | boolean;
}

const named = (view: ClusterView, fits: (member: MemberView) => boolean): string[] =>
  view.members.filter(fits).map(({ name }) => name);

/** Voters that may be damaged while the healthy ones remain a majority. */
export function spare(view: ClusterView): number {
  const voters = view.members.filter(({ listed, voter }) => listed && voter);
  const healthy = voters.filter((member) => member.healthy).length;
  return healthy - (Math.floor(voters.length / 2) + 1);
}

/**
 * Members that may be stopped or damaged: the healthy ones while there is one to spare, the others while the healthy ones
 * are a majority without them. A damaged one that runs may be what the cluster counts on when calls have added voters.
 */
const damageable = (view: ClusterView, fits: (member: MemberView) => boolean = () => true): string[] => {
  const left = spare(view);
  return named(view, (member) => fits(member) && (member.healthy ? left > 0 : !member.running || left >= 0));
};

const listedCount = (view: ClusterView): number => view.members.filter(({ listed }) => listed).length;

/** The members that need the operator's help come three times as often. */
const helpedFirst = (view: ClusterView): string[] => {
  const listed = view.members.filter((member) => member.listed);
  return listed.flatMap(({ name, healthy }) => (healthy ? [name] : [name, name, name]));
};

const RULES = {
  write: { weight: 5, targets: () => true },
  add: {
    weight: (view) => (listedCount(view) < 3 ? 20 : 8),
    targets: (view) => listedCount(view) < MEMBERS_MAX,
  },
  addNever: { weight: 3, targets: (view) => listedCount(view) < MEMBERS_MAX },
  addAlias: { weight: 2, targets: (view) => listedCount(view) < MEMBERS_MAX },
  updateGood: { weight: 5, targets: (view) => damageable(view, ({ healthy }) => healthy) },
  updateBad: { weight: 4, targets: (view) => named(view, ({ listed }) => listed) },
  updateBack: { weight: 8, targets: (view) => named(view, ({ elsewhere, running }) => elsewhere && running) },
  // Small rosters are left soon: three and more members are where most can go wrong.
  remove: { weight: (view) => (listedCount(view) > 3 ? 8 : 3), targets: helpedFirst },
  replace: { weight: 7, targets: helpedFirst },
  transfer: { weight: 5, targets: (view) => named(view, ({ listed, voter }) => listed && voter) },
  stop: { weight: 5, targets: (view) => damageable(view, ({ running }) => running) },
  kill: { weight: 8, targets: (view) => damageable(view, ({ running }) => running) },
  start: {
    weight: 18,
    targets: (view) => named(view, ({ listed, running, intact }) => listed && intact && !running),
  },
  stopAll: { weight: 1, targets: () => true },
  killAll: { weight: 2, targets: () => true },
  moveOne: { weight: 4, targets: (view) => damageable(view, ({ listed, intact }) => listed && intact) },
  moveAll: { weight: 2, targets: () => true },
  copy: { weight: 4, targets: (view) => damageable(view, ({ listed, intact }) => listed && intact) },
  rollBack: { weight: 4, targets: (view) => damageable(view, ({ listed, copies }) => listed && copies > 0) },
  twin: { weight: 3, targets: (view) => damageable(view, ({ healthy }) => healthy) },
  wipe: { weight: 2, targets: (view) => damageable(view, ({ listed, intact }) => listed && intact) },
  startRemoved: { weight: 2, targets: (view) => view.removed },
  fillDisk: {
    weight: 3,
    targets: (view) => view.smallDisks && damageable(view, ({ healthy, leads }) => healthy && !leads),
  },
  fillLeader: {
    weight: 2,
    targets: (view) => view.smallDisks && damageable(view, ({ healthy, leads }) => healthy && leads),
  },
  strayRestore: { weight: 2, targets: () => true },
  restoreAll: { weight: 1, targets: () => true },
} satisfies Record<string, KindRule>;

export type Kind = keyof typeof RULES | "rescue";

/** The generator of one operation. */
export function randomOf(seed: number, n: number): SeededRandom {
  const random = new SeededRandom(seed * 65_537 + n);
  for (let i = 0; i < 3; i++) random.below(2);
  return random;
}

/** The flag that leaves an operation out; null when it is always in. */
export function flagOf(kind: string): Flag | null {
  return kind in FLAGS ? (kind as Flag) : null;
}

/**
 * The kinds that a run leaves out: those switched off in the table, and those given.
 * @param text comma-separated; `known` stands for all of the table
 */
export function withoutKinds(text: string): Set<string> {
  const given = text.split(",").filter((kind) => kind !== "");
  const off = Object.entries(FLAGS).filter(([, { on }]) => !on || given.includes("known"));
  return new Set([...given, ...off.map(([kind]) => kind)]);
}

/** How much more often an operation comes that is asked for. */
const OFTEN = 10;

/**
 * The n-th operation of a seed.
 * @param without kinds that are left out
 * @param often kinds that come more often
 */
export function nextOperation(
  seed: number,
  n: number,
  view: ClusterView,
  without: ReadonlySet<string>,
  often: ReadonlySet<string> = new Set(),
): Operation {
  const random = randomOf(seed, n);
  const drawn = random.below(2 ** 20);
  const choices: { kind: Kind; weight: number; targets: readonly string[] }[] = [];
  for (const [kind, rule] of Object.entries<KindRule>(RULES)) {
    if (without.has(kind)) continue;
    const targets = rule.targets(view);
    if (targets === false || (targets !== true && targets.length === 0)) continue;
    const own = typeof rule.weight === "number" ? rule.weight : rule.weight(view);
    const weight = own * (often.has(kind) ? OFTEN : 1);
    choices.push({ kind: kind as Kind, weight, targets: targets === true ? [] : targets });
  }
  let at = drawn % choices.reduce((sum, { weight }) => sum + weight, 0);
  const chosen = choices.find(({ weight }) => (at -= weight) < 0);
  if (chosen === undefined) throw new Error("no operation fits");
  const target = chosen.targets[random.below(Math.max(1, chosen.targets.length))] ?? "";
  return { kind: chosen.kind, target, draw: random.below(2 ** 20) };
}

/** How a new cluster begins. */
export interface Birth {
  readonly size: number;
  /** One founder loses its disk before the last one has ever run. */
  readonly wiped: boolean;
}

export function birthOf(seed: number, without: ReadonlySet<string>): Birth {
  const random = randomOf(seed, 0);
  const size = [3, 3, 3, 5, 1][random.below(5)] ?? 3;
  return { size, wiped: size === 3 && random.below(3) === 0 && !without.has("wipeAtBirth") };
}
