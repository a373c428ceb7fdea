/**
 * Many kills of one cluster: three processes under the load of writers, and again and again one, two or all of them
 * ended by SIGKILL at a random instant and restarted, at once or a little later.
 *
 * After each leg of some kills the load ends, the members stop, and every log is read offline and compared with the
 * outcomes that the writers of that leg got. A leg is so short that every write of it is still in a member's log or
 * remembered in its snapshot. Then the next leg runs on the same data directories. All random choices come from the seed;
 * only the timing of the machine does not.
 */
import { Consistency } from "../../../src/client";
import type { SeededRandom } from "../../../src/raft/index";
import { Load } from "./load";
import type { ProcessCluster, MemberProcess } from "./process_cluster";
import { until } from "./processes";
import { stopAndCheck } from "./stop_and_check";

const WRITERS = 24;
/**
 * Longest pause of a writer, in milliseconds, which determines the load: several hundred writes a second, so that a leg
 * has far fewer writes than the 10,000 that a roster remembers. Lower it for more load, but keep a leg below that limit.
 */
const THINK_MS_MAX = 80;
/** Kills between two readings of the logs. */
const LEG_KILLS = 10;
/** Longest stretch of load between a recovery and the next kill, in milliseconds. */
const LOAD_MS_MAX = 600;
/** Longest time until a killed member is restarted, when not at once, in milliseconds. */
const AWAY_MS_MAX = 600;

/** The result of one leg. */
export interface LegResult {
  readonly leg: number;
  /** How many members each kill hit. */
  readonly victims: readonly number[];
  /** The time from each kill to the acknowledgement of a write that began after it, in milliseconds. */
  readonly recoveriesMs: readonly number[];
  readonly acknowledged: number;
  readonly refused: number;
  readonly notAppended: number;
  readonly unknown: number;
  readonly lastIndex: number;
  /** Acknowledged writes that no member remembers any more; must be 0, otherwise the leg was too long to be checked. */
  readonly uncovered: number;
  readonly problems: readonly string[];
  readonly totalMs: number;
}

export const HEADER =
  "  leg   kills (1/2/3 members)    acked  refused  not-app  unknown  recovery median/worst  last index     total";

export function row(r: LegResult): string {
  const cell = (value: number | string, width: number): string => String(value).padStart(width);
  const hit = [1, 2, 3].map((size) => r.victims.filter((victims) => victims === size).length).join("/");
  const sorted = [...r.recoveriesMs].sort((a, b) => a - b);
  const recovery = `${sorted[sorted.length >> 1] ?? "-"}/${sorted.at(-1) ?? "-"} ms`;
  const counts = [r.acknowledged, r.refused, r.notAppended, r.unknown].map((count) => cell(count, 9));
  const ends = [cell(recovery, 23), cell(r.lastIndex, 12), cell(`${(r.totalMs / 1000).toFixed(1)} s`, 10)];
  return [cell(r.leg, 5), cell(`${r.victims.length} (${hit})`, 24), ...counts, ...ends].join("");
}

/** How many kills each leg has. */
export function legs(kills: number): number[] {
  const full = Array.from({ length: Math.floor(kills / LEG_KILLS) }, () => LEG_KILLS);
  return kills % LEG_KILLS === 0 ? full : [...full, kills % LEG_KILLS];
}

/** One leg on a cluster that is ready; it is stopped when the leg ends. */
export async function runLeg(
  cluster: ProcessCluster,
  random: SeededRandom,
  leg: number,
  kills: number,
): Promise<LegResult> {
  const startMs = performance.now();
  await removeStrangers(cluster);
  const load = new Load({
    endpoints: cluster.members.map((member) => member.endpoint),
    targets: cluster.members.map((member) => member.name),
    seed: random.below(2 ** 31),
    writers: WRITERS,
    thinkMsMax: THINK_MS_MAX,
    part: leg,
  });
  load.start();
  await until("the first writes are acknowledged", () => load.count("acknowledged") > 0);
  const victims: number[] = [];
  const recoveriesMs: number[] = [];
  for (let n = 0; n < kills; n++) {
    const chosen = choose(cluster.members, random);
    victims.push(chosen.length);
    await pass(random.below(LOAD_MS_MAX));
    recoveriesMs.push(await killAndRestart(cluster, load, chosen, random));
  }
  await load.stop();
  const { problems, lastIndex, uncovered } = await stopAndCheck(cluster, load);
  return {
    leg,
    victims,
    recoveriesMs,
    acknowledged: load.count("acknowledged"),
    refused: load.count("refused"),
    notAppended: load.count("not-appended"),
    unknown: load.count("unknown"),
    lastIndex,
    uncovered,
    problems,
    totalMs: Math.round(performance.now() - startMs),
  };
}

/**
 * Removes members that the load of an earlier leg added and could not remove because of a kill. With two of them every
 * kill would cost the quorum, and few writes would succeed.
 */
async function removeStrangers(cluster: ProcessCluster): Promise<void> {
  const known = new Set(cluster.members.map(({ name }) => name));
  const leader = await cluster.leader();
  const { members } = await leader.members(Consistency.LINEARIZABLE);
  for (const { name } of members) {
    // The leader waits until its members have been in contact for long enough.
    if (!known.has(name)) await leader.client.deleteMember({ name }, { timeoutMs: 20_000 });
  }
}

/** Chooses the members to kill: of five kills about three hit one member, one hits two, and one hits all three. */
function choose(members: readonly MemberProcess[], random: SeededRandom): MemberProcess[] {
  const size = [1, 1, 1, 2, 3][random.below(5)] ?? 1;
  const left = [...members];
  while (left.length > size) left.splice(random.below(left.length), 1);
  return left;
}

/**
 * Kills the members, restarts each at once or a little later, and waits until the cluster serves again: a write that
 * began after the kill is acknowledged, and every member knows a leader.
 * @returns the time from the kill to that acknowledgement, in milliseconds
 */
async function killAndRestart(
  cluster: ProcessCluster,
  load: Load,
  chosen: readonly MemberProcess[],
  random: SeededRandom,
): Promise<number> {
  const ended = cluster.members.find((member) => !member.running);
  if (ended !== undefined) throw new Error(`${ended.name} ended by itself`);
  const awayMs = chosen.map(() => (random.below(2) === 0 ? 0 : random.below(AWAY_MS_MAX)));
  const killedMs = performance.now();
  await Promise.all(
    chosen.map(async (member, i) => {
      await member.kill();
      await pass(awayMs[i] ?? 0);
      member.start();
    }),
  );
  await until("writes are acknowledged again", () => load.firstAcknowledgedAfter(killedMs) !== null);
  const recoveredMs = load.firstAcknowledgedAfter(killedMs) ?? NaN;
  let seen = "";
  await until(
    "every member is back",
    async () => {
      const all = await Promise.all(cluster.members.map((member) => member.cluster()));
      seen = all.map((answer) => answer?.header?.leaderId ?? "no answer").join();
      return all.every((answer) => (answer?.header?.leaderId ?? "") !== "");
    },
    () => `leaders: ${seen}`,
  );
  return Math.round(recoveredMs - killedMs);
}

/** Lets a time pass that the seed determines; does not wait for a condition. */
function pass(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
