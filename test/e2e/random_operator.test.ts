/**
 * A random operator on real processes, for one short seed: no accepted call leaves a healthy cluster without a quorum, and
 * nothing acknowledged is lost, whatever the operator does. More and longer seeds: `npm run operator`.
 *
 * MUSTER_E2E_SEED sets the seed, MUSTER_E2E_OPERATIONS the number of operations (each takes about 1.5 s): raise it for a
 * longer search, lower it for a quick run. MUSTER_E2E_WITHOUT leaves out kinds of operations, as `--without` does.
 */
import { withoutKinds } from "../chaos/operator_plan";
import { runSeed } from "../chaos/operator_run";
import { ensureBuilt, killLeftovers } from "./support/processes";

const SEED = Number(process.env["MUSTER_E2E_SEED"] ?? 73);
const OPERATIONS = Number(process.env["MUSTER_E2E_OPERATIONS"] ?? 40);

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);

test(
  `${OPERATIONS} operations of seed ${SEED}`,
  async () => {
    const lines: string[] = [];
    const { violation, kept, acknowledged } = await runSeed({
      seed: SEED,
      operations: OPERATIONS,
      without: withoutKinds(process.env["MUSTER_E2E_WITHOUT"] ?? ""),
      often: new Set(),
      endsInRescue: true,
      print: (line) => lines.push(line),
    });
    if (violation !== null) process.stderr.write(`${lines.join("\n")}\nkept in ${kept ?? "nothing"}\n`);
    expect(violation).toBeNull();
    expect(acknowledged).toBeGreaterThan(OPERATIONS);
  },
  60_000 + OPERATIONS * 30_000,
);
