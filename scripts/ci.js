/**
 * All checks that a change must pass before it is merged; .ci/run calls this after `npm ci`. Runs verify, `npm test`,
 * 10,000 random schedules of the Raft core, and the simulation with 500 seeds and with 50 more that run twice. Also runs
 * the upgrade from the version before if the history has it, and the conformance suites and the histories if their folders
 * are beside this clone. Each step has a time limit. The last line is the sum of all totals as `N passed, N failed`. soak.js
 * runs the same suites at full scale.
 *
 * MUSTER_CONFORMANCE sets another folder for the conformance suites.
 */
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { OLD, hasOldCommit } = require("./old_build");
const { root, run, runScript, parseTotals, finish } = require("./tools");

const MINUTE_MS = 60_000;

async function main() {
  const sum = { passed: 0, failed: 0 };
  const step = async (name, runStep) => {
    const startedMs = Date.now();
    console.log(`\n== ${name}`);
    const { code, output } = await runStep();
    const totals = parseTotals(output) ?? { passed: 0, failed: 1 };
    sum.passed += totals.passed;
    sum.failed += code === 0 ? totals.failed : Math.max(totals.failed, 1);
    console.log(`== ${name}: exit ${code} after ${((Date.now() - startedMs) / 1000).toFixed(0)} s`);
  };

  await step("verify", () => runScript("verify.js", ["--no-tests"], { limitMs: 6 * MINUTE_MS }));
  await step("tests", () => run("npm", ["test"], { limitMs: 30 * MINUTE_MS }));
  const properties = ["-r", "./scripts/swc-register.js", "test/raft/support/run_properties.ts"];
  await step("Raft properties", () =>
    run(process.execPath, [...properties, "--schedules", "10000"], { limitMs: 2 * MINUTE_MS }),
  );
  await step("simulation", () =>
    runScript("sim.js", ["--seeds", "1..500", "--events", "5000"], { limitMs: 7 * MINUTE_MS }),
  );
  await step("simulation, run twice", () =>
    runScript("sim.js", ["--seeds", "501..550", "--events", "5000", "--twice"], { limitMs: 2 * MINUTE_MS }),
  );
  await step("planted bugs", () =>
    runScript("sim.js", ["--plant", "recorded", "--events", "5000"], { limitMs: 12 * MINUTE_MS }),
  );
  if (hasOldCommit()) await step("upgrade", () => runScript("upgrade.js", [], { limitMs: 6 * MINUTE_MS }));
  else console.log(`\n== upgrade: left out, the history of this clone does not have version ${OLD.version}`);
  const suites = process.env.MUSTER_CONFORMANCE ?? path.join(root, "..", "shared", "conformance");
  // The folder `random` contains more scripts for the suite `interaction`.
  for (const name of ["quorum", "confchange", "interaction", "random"]) {
    const suite = name === "random" ? "interaction" : name;
    const folder = path.join(suites, name);
    if (!fs.existsSync(folder)) {
      console.log(`\n== conformance ${name}: left out, its folder is not there`);
      continue;
    }
    await step(`conformance ${name}`, () =>
      runScript("conformance.js", [suite, folder], { limitMs: MINUTE_MS }),
    );
  }
  for (const kind of ["jepsen", "kv"]) {
    const folder = path.join(root, "..", "shared", "histories", kind);
    if (!fs.existsSync(folder)) {
      console.log(`\n== histories ${kind}: left out, their folder is not there`);
      continue;
    }
    await step(`histories ${kind}`, () => runScript("histories.js", [folder], { limitMs: MINUTE_MS }));
  }
  console.log("");
  finish(sum);
}

void main();
