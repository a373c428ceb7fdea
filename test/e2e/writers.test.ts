/**
 * Nothing acknowledged is lost, nothing happens twice: 32 writers, and the leader killed under them.
 *
 * MUSTER_E2E_ROUNDS sets the number of rounds (each about 15 s), MUSTER_E2E_SEED the seed of the first; the others count
 * on from it. Each round prints a line. Twenty in a row:
 *
 *     MUSTER_E2E_ROUNDS=20 npx jest --selectProjects e2e --testPathPatterns e2e/writers
 */
import { ensureBuilt, killLeftovers } from "./support/processes";
import { HEADER, row, runRound } from "./support/writers_round";

const ROUNDS = Number(process.env["MUSTER_E2E_ROUNDS"] ?? 2);
const FIRST_SEED = Number(process.env["MUSTER_E2E_SEED"] ?? Math.floor(Math.random() * 1e9));

/** An election takes 1 to 2 s, another if the vote is split; with voters that never run, the restart comes first. */
const RECOVERY_MS_MAX = 20_000;

beforeAll(() => {
  ensureBuilt();
  process.stderr.write(`${HEADER}\n`);
}, 120_000);
afterAll(killLeftovers);

describe("32 writers at random members, the leader killed and restarted", () => {
  const rounds = Array.from({ length: ROUNDS }, (_, i) => ({ round: i + 1, seed: FIRST_SEED + i }));

  test.each(rounds)(
    "every request_id changes the roster at most once, every acknowledged one exactly once (seed $seed)",
    async ({ round, seed }) => {
      const result = await runRound(seed);
      process.stderr.write(`${row(round, result)}\n`);
      expect(result.problems).toEqual([]);
      // The leader's death was felt, and overcome.
      expect(result.recoveryMs).toBeGreaterThan(0);
      expect(result.recoveryMs).toBeLessThan(RECOVERY_MS_MAX);
    },
    150_000,
  );
});
