/**
 * `npm run sim -- --seeds A..B --events N [--plant NAME] [--scale N]`: the deterministic simulation, see
 * docs/simulation.md. The last line is `N passed, N failed`, counted in seeds. Runs the TypeScript sources; needs no
 * build.
 *
 * `--scale N` multiplies the number of seeds.
 */
"use strict";
const { callerPath, runSource } = require("./run_source");
const { scaledSeeds, takeScale } = require("./scale");

const DEFAULT_SEEDS = "1..100";

function main() {
  const args = process.argv.slice(2);
  const scale = takeScale(args);
  const valueOf = (name, otherwise, change) => {
    const at = args.indexOf(name);
    if (at !== -1 && args[at + 1] !== undefined) args[at + 1] = change(args[at + 1]);
    else if (at === -1 && otherwise !== null) args.push(name, change(otherwise));
  };
  valueOf("--seeds", DEFAULT_SEEDS, (range) => scaledSeeds(range, scale));
  valueOf("--append", null, callerPath);
  runSource("test/simulation/run_main.ts", args);
}

try {
  main();
} catch (error) {
  console.error(`muster: ${error.message}`);
  process.exitCode = 2;
}
