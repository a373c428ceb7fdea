/**
 * No acknowledged write is lost and no write is applied twice, with 32 writers and a leader that is killed under load.
 *
 * MUSTER_E2E_ROUNDS sets the number of rounds (each takes about 15 s): raise it for a longer search, lower it for a quick
 * run. MUSTER_E2E_SEED sets the seed of the first round; each later round uses the next seed. Each round prints a line.
 * Twenty rounds:
 *
 *     MUSTER_E2E_ROUNDS=20 npx jest --selectProjects e2e --testPathPatterns e2e/writers
 */
import { ensureBuilt, killLeftovers } from "./support/processes";
import { HEADER, row, runRound } from "./support/writers_round";

const ROUNDS = Number(process.env["MUSTER_E2E_ROUNDS"] ?? 2);
const FIRST_SEED = Number(process.env["MUSTER_E2E_SEED"] ?? Math.floor(Math.random() * 1e9));

/** An election takes 1 to 2 s, and again after a split vote. With voters that never run, it needs the restart first. */
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
      // The kill of the leader interrupted the writes, and the cluster recovered.
      expect(result.recoveryMs).toBeGreaterThan(0);
      expect(result.recoveryMs).toBeLessThan(RECOVERY_MS_MAX);
    },
    150_000,
  );
});
