/**
 * One round of the writers' test: a new cluster of three processes under the load of 32 writers. Its leader gets SIGKILL at
 * a random moment and is restarted. Then every log is read offline and compared with the outcomes that the writers got. All
 * random choices come from the seed; only the timing of the machine does not.
 */
import { SeededRandom } from "../../../src/raft/index";
import { Load } from "./load";
import { ProcessCluster } from "./process_cluster";
import { until } from "./processes";
import type { MemberProcess } from "./process_cluster";
import { stopAndCheck } from "./stop_and_check";

export const WRITERS = 32;

export interface RoundResult {
  readonly seed: number;
  readonly acknowledged: number;
  readonly refused: number;
  /** Writes that were given up with the promise that nothing was appended. */
  readonly notAppended: number;
  readonly unknown: number;
  /** Most voters between kill and restart. With more than three, the cluster has no quorum before the restart. */
  readonly voters: number;
  /** Time from the kill to the acknowledgement of a write that began after it, in milliseconds. */
  readonly recoveryMs: number;
  /** Time from the kill to the restart, in milliseconds. */
  readonly downMs: number;
  readonly lastIndex: number;
  /** Acknowledged writes that are too old to be found in any log; see LogSummary. */
  readonly uncovered: number;
  readonly snapshots: readonly number[];
  readonly problems: readonly string[];
  readonly totalMs: number;
}

export const HEADER =
  "round        seed    acked  refused  not-app  unknown    voters  recovery     down  last index  uncovered  snapshots          total";

export function row(round: number, r: RoundResult): string {
  const cell = (value: number | string, width: number): string => String(value).padStart(width);
  const cells = [cell(round, 5), cell(r.seed, 12), cell(r.acknowledged, 9), cell(r.refused, 9)];
  cells.push(cell(r.notAppended, 9), cell(r.unknown, 9), cell(r.voters, 9), cell(`${r.recoveryMs} ms`, 10));
  cells.push(
    cell(`${r.downMs} ms`, 9),
    cell(r.lastIndex, 12),
    cell(r.uncovered, 11),
    `  ${r.snapshots.join("/").padEnd(17)}`,
  );
  return [...cells, cell(`${(r.totalMs / 1000).toFixed(1)} s`, 8)].join("");
}

/** Lets the load run for a time; does not wait for a condition. */
function loadFor(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** Fewest writes before the kill, and after the recovery, however slow the machine is. */
const ENOUGH = 100;

function moreAcknowledged(load: Load, count: number): Promise<void> {
  const wanted = load.count("acknowledged") + count;
  return until(`${count} more writes are acknowledged`, () => load.count("acknowledged") >= wanted);
}

export async function runRound(seed: number): Promise<RoundResult> {
  const cluster = await ProcessCluster.start(3);
  let failed = true;
  try {
    const result = await underLoad(cluster, seed);
    failed = result.problems.length > 0;
    return result;
  } finally {
    if (failed) cluster.printOutput();
    await cluster.destroy(failed);
    if (failed) process.stderr.write(`seed ${seed}: the data directories are kept in ${cluster.folder}\n`);
  }
}

async function underLoad(cluster: ProcessCluster, seed: number): Promise<RoundResult> {
  const startMs = performance.now();
  const random = new SeededRandom(seed);
  const load = new Load({
    endpoints: cluster.members.map((member) => member.endpoint),
    targets: cluster.members.map((member) => member.name),
    seed,
    writers: WRITERS,
    thinkMsMax: 10 + random.below(40),
  });
  load.start();
  await loadFor(5000 + random.below(2000));
  await moreAcknowledged(load, ENOUGH - load.count("acknowledged"));
  const killed = await killLeader(cluster, load, 1500 + random.below(1500));
  await loadFor(1000 + random.below(1000));
  await moreAcknowledged(load, ENOUGH);
  await load.stop();
  const { problems, ...summary } = await stopAndCheck(cluster, load);
  return {
    seed,
    acknowledged: load.count("acknowledged"),
    refused: load.count("refused"),
    notAppended: load.count("not-appended"),
    unknown: load.count("unknown"),
    ...killed,
    lastIndex: summary.lastIndex,
    uncovered: summary.uncovered,
    snapshots: summary.snapshots,
    problems,
    totalMs: Math.round(performance.now() - startMs),
  };
}

/** Kills the leader, restarts it after `downMs`, and waits until writes are acknowledged again and the member is ready. */
async function killLeader(
  cluster: ProcessCluster,
  load: Load,
  wantedDownMs: number,
): Promise<Pick<RoundResult, "voters" | "recoveryMs" | "downMs">> {
  const leader: MemberProcess = await cluster.leader();
  const killedMs = performance.now();
  await leader.kill();
  let voters = 0;
  do {
    await loadFor(100);
    const seen = await Promise.all(cluster.running.map((member) => member.cluster()));
    voters = Math.max(voters, ...seen.map((answer) => answer?.members.length ?? 0));
  } while (performance.now() < killedMs + wantedDownMs);
  const downMs = Math.round(performance.now() - killedMs);
  leader.start();
  await until("writes are acknowledged again", () => load.firstAcknowledgedAfter(killedMs) !== null);
  await until(
    "the killed member is back",
    async () => (await leader.cluster())?.header?.leaderId !== undefined,
  );
  const recoveryMs = Math.round((load.firstAcknowledgedAfter(killedMs) ?? NaN) - killedMs);
  return { voters, recoveryMs, downMs };
}
