/**
 * `npm test`: installs and builds if needed, then runs the test projects of jest.config.js one after another; suites
 * that start clusters or processes have the machine to themselves.
 *
 * Arguments go to jest (`npm test -- test/raft`, `npm test -- -t "pre-vote"`); `--project NAME` picks one project.
 * The last line is `N passed, N failed` over all projects. Exit 1 when anything failed, did not load or did not end,
 * or when no test ran. A test left out on purpose (skip, only) is caught by test/suites/house.test.ts.
 */
"use strict";
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { ensureBuilt, ensureInstalled } = require("./ensure");
const { root, runTool, endGroup, finish } = require("./tools");

const PROJECTS = [
  { name: "unit", workers: 2, limitMs: 8 * 60_000 },
  { name: "simulation", workers: 2, limitMs: 3 * 60_000 },
  { name: "integration", workers: 1, limitMs: 6 * 60_000 },
  { name: "e2e", workers: 1, limitMs: 9 * 60_000 },
];

/** How long jest may take to end after its last test, in milliseconds. */
const EXIT_GRACE_MS = 15_000;

/** Runs one project. Whatever keeps it from reporting counts as one failure. */
async function runProject(project, args, totalsFile) {
  fs.rmSync(totalsFile, { force: true });
  let lingering = false;
  let timer;
  const watch = (child) => {
    timer = setInterval(() => {
      if (!fs.existsSync(totalsFile)) return;
      clearInterval(timer);
      timer = setTimeout(() => {
        lingering = true;
        endGroup(child, "SIGKILL");
      }, EXIT_GRACE_MS);
    }, 250);
  };
  const result = await runTool(
    "jest",
    [
      // First: jest's options that take lists would swallow a path that follows them.
      ...args,
      "--selectProjects",
      project.name,
      "--maxWorkers",
      String(project.workers),
      "--ci",
      "--passWithNoTests",
      "--reporters",
      "default",
      "--reporters",
      path.join(root, "test", "reporter.js"),
    ],
    { limitMs: project.limitMs, env: { MUSTER_TEST_TOTALS: totalsFile }, onChild: watch },
  );
  clearTimeout(timer);
  clearInterval(timer);
  let totals = { passed: 0, failed: 0 };
  if (fs.existsSync(totalsFile)) totals = JSON.parse(fs.readFileSync(totalsFile, "utf8"));
  if (lingering) {
    console.error(
      `${project.name}: jest did not end within ${EXIT_GRACE_MS / 1000} s of its last test: something is left open`,
    );
    totals.failed += 1;
  } else if (result.code !== 0 && totals.failed === 0) {
    console.error(`${project.name}: jest ended with ${result.code}`);
    totals.failed += 1;
  }
  return totals;
}

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
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "muster-test-"));
  const sum = { passed: 0, failed: 0 };
  try {
    for (const project of projects) {
      console.log(`\n${project.name} tests`);
      const totals = await runProject(project, args, path.join(folder, project.name));
      sum.passed += totals.passed;
      sum.failed += totals.failed;
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
  finish(sum);
}

void main();
