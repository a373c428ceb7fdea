/**
 * `npm test`: installs and builds if needed, then runs the test projects of jest.config.js one after another. Projects
 * that start clusters or processes run with one worker, so that their tests do not compete for the processor.
 *
 * Arguments go to jest (`npm test -- test/raft`, `npm test -- -t "pre-vote"`); `--project NAME` picks one project.
 * The last line is `N passed, N failed` over all projects. Exits with 1 when a test failed, a test file did not load, jest
 * did not exit, or no test ran. test/suites/style.test.ts finds tests that are skipped with `skip` or `only`.
 */
"use strict";
const { ensureBuilt, ensureInstalled } = require("./ensure");
const { runJest } = require("./jest");
const { finish } = require("./tools");

const PROJECTS = [
  { name: "unit", workers: 2, limitMs: 8 * 60_000 },
  { name: "simulation", workers: 2, limitMs: 3 * 60_000 },
  { name: "integration", workers: 1, limitMs: 10 * 60_000 },
  { name: "e2e", workers: 1, limitMs: 14 * 60_000 },
];

async function main() {
  const args = process.argv.slice(2);
  const at = args.indexOf("--project");
  const only = at === -1 ? null : args.splice(at, 2)[1];
  const projects = PROJECTS.filter((project) => only === null || project.name === only);
  if (projects.length === 0) {
    console.error(
      `no such project: ${only}; there are ${PROJECTS.map((project) => project.name).join(", ")}`,
    );
    return finish({ passed: 0, failed: 1 });
  }
  try {
    ensureInstalled();
    ensureBuilt();
  } catch (error) {
    console.error(`muster: ${error.message}`);
    return finish({ passed: 0, failed: 1 });
  }
  const sum = { passed: 0, failed: 0 };
  for (const project of projects) {
    console.log(`\n${project.name} tests`);
    const totals = await runJest(project, args);
    sum.passed += totals.passed;
    sum.failed += totals.failed;
  }
  finish(sum);
}

void main();
