/**
 * `npm run operator`: random operators on clusters of real processes, see operator_run.ts. The last line is
 * `N passed, N failed`, counted in seeds.
 */
import { parseArgs } from "node:util";
import { ensureBuilt, killLeftovers } from "../e2e/support/processes";
import { withoutKinds } from "./operator_plan";
import { runSeed } from "./operator_run";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string", default: "1..12" },
      operations: { type: "string", default: "150" },
      without: { type: "string", default: "" },
      often: { type: "string", default: "" },
      quiet: { type: "boolean", default: false },
    },
  });
  const [first = 1, last = first] = values.seeds.split("..").map(Number);
  const operations = Number(values.operations);
  const without = withoutKinds(values.without);
  const often = new Set(values.often.split(","));
  ensureBuilt();
  let [passed, failed] = [0, 0];
  const kinds = new Map<string, number>();
  for (let seed = first; seed <= last; seed++) {
    const startedMs = performance.now();
    const print = values.quiet ? () => undefined : say;
    say(`seed ${seed}`);
    const result = await runSeed({ seed, operations, without, often, endsInRescue: true, print });
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
    for (const [kind, count] of result.kinds) kinds.set(kind, (kinds.get(kind) ?? 0) + count);
    say(`seed ${seed}: ${result.done} operations, ${result.acknowledged} writes acknowledged, ${seconds} s`);
    if (result.violation === null) {
      passed++;
      continue;
    }
    failed++;
    say(`seed ${seed}: ${result.violation}`);
    say(
      `  kept in ${result.kept ?? "nothing"}; again: npm run operator -- --seeds ${seed}..${seed} --operations ${operations}`,
    );
  }
  say([...kinds].map(([kind, count]) => `${kind} ${count}`).join(", "));
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

// Ends the process properly, so that its small disks are given back; its members end with it.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
void main()
  .then((code) => {
    process.exitCode = code;
  })
  .finally(() => void killLeftovers());
