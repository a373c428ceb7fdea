/**
 * `npm run operator -- --seeds A..B --operations N [--without KIND,...] [--often KIND,...]`: a random operator on
 * clusters of real processes. The last line is `N passed, N failed`, counted in seeds. Builds if needed.
 *
 * The kinds of operations are in test/chaos/operator_plan.ts; `--without known` leaves out those of the table of known
 * faults. What is named by `--often` comes ten times as often.
 *
 * `--scale N` multiplies the number of seeds.
 */
"use strict";
const { runSource } = require("./run_source");
const { scaledSeeds, takeScale } = require("./scale");

const DEFAULT_SEEDS = "1..12";

try {
  const args = process.argv.slice(2);
  const scale = takeScale(args);
  const at = args.indexOf("--seeds");
  if (at === -1) args.push("--seeds", scaledSeeds(DEFAULT_SEEDS, scale));
  else if (args[at + 1] !== undefined) args[at + 1] = scaledSeeds(args[at + 1], scale);
  runSource("test/chaos/operator_main.ts", args);
} catch (error) {
  console.error(`muster: ${error.message}`);
  process.exitCode = 2;
}
