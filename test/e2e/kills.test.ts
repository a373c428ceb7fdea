/**
 * Nothing acknowledged is lost, and all rosters stay equal, however often members are killed: one, two or all three
 * processes of a cluster under load get SIGKILL at random instants, again and again, on the same data directories.
 *
 * MUSTER_E2E_KILLS sets the number of kills (each takes about 3 s): raise it for a longer search, lower it for a quick
 * run. MUSTER_E2E_SEED sets the seed. Each leg of ten kills prints a line, and the end one with the totals. At full scale:
 *
 *     MUSTER_E2E_KILLS=200 npx jest --selectProjects e2e --testPathPatterns e2e/kills
 */
import { SeededRandom } from "../../src/raft/index";
import { HEADER, legs, row, runLeg } from "./support/kills_run";
import type { LegResult } from "./support/kills_run";
import { ensureBuilt, killLeftovers } from "./support/processes";
import { ProcessCluster } from "./support/process_cluster";

const KILLS = Number(process.env["MUSTER_E2E_KILLS"] ?? 10);
const SEED = Number(process.env["MUSTER_E2E_SEED"] ?? Math.floor(Math.random() * 1e9));

beforeAll(() => {
  ensureBuilt();
}, 120_000);
afterAll(killLeftovers);

test(
  `${KILLS} kills under load: every acknowledged write is in every log once, at its revision (seed ${SEED})`,
  async () => {
    process.stderr.write(`seed ${SEED}\n${HEADER}\n`);
    const cluster = await ProcessCluster.prepare(3);
    const random = new SeededRandom(SEED);
    const results: LegResult[] = [];
    let passed = false;
    try {
      for (const [leg, kills] of legs(KILLS).entries()) {
        for (const member of cluster.members) member.start();
        await cluster.ready();
        const result = await runLeg(cluster, random, leg, kills);
        process.stderr.write(`${row(result)}\n`);
        results.push(result);
        expect(result.problems).toEqual([]);
        // Every write of the leg could be checked, and there were writes to check.
        expect(result.uncovered).toBe(0);
        expect(result.acknowledged).toBeGreaterThan(10 * kills);
      }
      passed = true;
    } finally {
      if (!passed) {
        cluster.printOutput();
        process.stderr.write(`seed ${SEED}: the data directories are kept in ${cluster.folder}\n`);
      }
      process.stderr.write(`${totals(results, cluster)}\n`);
      await cluster.destroy(!passed);
    }
  },
  60_000 + KILLS * 20_000,
);

function totals(results: readonly LegResult[], cluster: ProcessCluster): string {
  const sum = (of: (result: LegResult) => number): number => results.reduce((all, r) => all + of(r), 0);
  const tornTails = cluster.members.reduce(
    (all, { output }) => all + output.split("cut a torn tail").length - 1,
    0,
  );
  return [
    `${sum((r) => r.victims.length)} kills of ${sum((r) => r.victims.reduce((all, n) => all + n, 0))} processes`,
    `${sum((r) => r.acknowledged)} writes acknowledged`,
    `${sum((r) => r.problems.length)} problems`,
    `${tornTails} torn tails cut at a restart`,
    `${(sum((r) => r.totalMs) / 1000).toFixed(0)} s`,
  ].join(", ");
}
