/**
 * `npm run soak -- [SUITE...] [--scale N]`: runs the named long suites, or all of them, one after another, and prints the
 * time of each. The last line is `N passed, N failed`, the sum over the suites, which count seeds, plants, tests or
 * schedules.
 *
 * `--scale N` multiplies the amount of work of every suite. Full scale is 1 and takes hours.
 */
"use strict";
const { ensureBuilt, ensureInstalled } = require("./ensure");
const { takeScale, scaled } = require("./scale");
const { run, runScript, parseTotals, finish } = require("./tools");

const MINUTE_MS = 60_000;

/** The totals of a suite that is a program and prints them in its last line. */
async function totalsOf(running) {
  const { code, output } = await running;
  const totals = parseTotals(output) ?? { passed: 0, failed: 1 };
  return { ...totals, failed: code === 0 ? totals.failed : Math.max(totals.failed, 1) };
}

/** A suite that is a test file and reads its amount of work from an environment variable. */
function testFile(project, pattern, limitMs, env) {
  // Loaded here and not at the top, because it needs installed packages.
  const { runJest } = require("./jest");
  return runJest({ name: project, workers: 1, limitMs }, ["--testPathPatterns", pattern], env);
}

function sim(args, limitMs) {
  return totalsOf(runScript("sim.js", args, { limitMs }));
}

/** A plant whose bug no seed out of this many finds counts as failed. A run ends soon after its bug is found. */
const PLANT_SEEDS_MAX = 2000;

/** The names of all planted bugs; below full scale, of a part of them that is spread over the whole list. */
function somePlants(scale) {
  require("./swc-register");
  const names = require("../test/simulation/plants/all").PLANTS.map(({ name }) => name);
  const count = Math.min(names.length, scaled(names.length, scale));
  return Array.from({ length: count }, (_, i) => names[Math.floor((i * names.length) / count)]);
}

/**
 * The suites in the order in which they run. `minutes` is the time limit at full scale. `start` gets the scale and the
 * time limit in milliseconds.
 */
const SUITES = [
  {
    name: "simulation",
    minutes: 360,
    start: (scale, limitMs) =>
      sim(["--seeds", "1..10000", "--events", "5000", "--scale", String(scale)], limitMs),
  },
  {
    name: "plants",
    minutes: 360,
    start: (scale, limitMs) => {
      const seeds = `1..${scaled(PLANT_SEEDS_MAX, Math.max(1, scale))}`;
      return sim(["--seeds", seeds, "--events", "5000", "--plant", somePlants(scale).join(",")], limitMs);
    },
  },
  {
    name: "crash-states",
    minutes: 60,
    start: (scale, limitMs) =>
      testFile("unit", "test/storage/crash", limitMs, {
        MUSTER_CRASH_STATES: String(scaled(100_000, scale)),
      }),
  },
  {
    name: "flipped-bits",
    minutes: 60,
    start: (scale, limitMs) =>
      testFile("unit", "test/storage/damage", limitMs, { MUSTER_FLIP_EVERY: String(scaled(1, 1 / scale)) }),
  },
  {
    name: "kills",
    minutes: 60,
    start: (scale, limitMs) =>
      testFile("e2e", "test/e2e/kills", limitMs, { MUSTER_E2E_KILLS: String(scaled(200, scale)) }),
  },
  {
    name: "raft-properties",
    minutes: 20,
    start: (scale, limitMs) => {
      const program = ["-r", "./scripts/swc-register.js", "test/raft/support/run_properties.ts"];
      const schedules = ["--schedules", String(scaled(20_000, scale))];
      return totalsOf(run(process.execPath, [...program, ...schedules], { limitMs }));
    },
  },
  {
    name: "operator",
    minutes: 180,
    start: (scale, limitMs) =>
      totalsOf(runScript("operator.js", ["--operations", "150", "--scale", String(scale)], { limitMs })),
  },
];

function choose(names) {
  const unknown = names.find((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown !== undefined)
    throw new Error(`no such suite: ${unknown}; there are ${SUITES.map(({ name }) => name).join(", ")}`);
  return names.length === 0 ? SUITES : SUITES.filter(({ name }) => names.includes(name));
}

async function main() {
  const args = process.argv.slice(2);
  const scale = takeScale(args);
  const suites = choose(args);
  ensureInstalled();
  ensureBuilt();
  const sum = { passed: 0, failed: 0 };
  const times = [];
  for (const { name, minutes, start } of suites) {
    const startedMs = Date.now();
    console.log(`\n== ${name}, scale ${scale}`);
    const { passed, failed } = await start(scale, (3 + minutes * scale) * MINUTE_MS);
    sum.passed += passed;
    sum.failed += failed;
    const seconds = ((Date.now() - startedMs) / 1000).toFixed(0);
    times.push(`${name.padEnd(16)} ${seconds.padStart(7)} s  ${passed} passed, ${failed} failed`);
  }
  console.log(`\n${times.join("\n")}\n`);
  finish(sum);
}

main().catch((error) => {
  console.error(`muster: ${error.message}`);
  finish({ passed: 0, failed: 1 });
});
