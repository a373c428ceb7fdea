/**
 * `npm run verify`: the checks that must pass before a change is committed: current generated code, types, lint, format,
 * buf lint, no breaking change of the contract, tests. Writes no tracked file, and checks that as well.
 *
 * `--no-tests` leaves the tests out, for a caller that runs `npm test` itself. The other checks run even when one fails.
 * The last line is `N passed, N failed`: checks, and tests where they ran.
 */
"use strict";
const { execFileSync } = require("node:child_process");
const { ensureInstalled } = require("./ensure");

/** The state of the tracked files as git reports it; null outside a clone. */
function trackedState(root) {
  try {
    const status = execFileSync("git", ["status", "--porcelain"], { cwd: root, encoding: "utf8" });
    const diff = execFileSync("git", ["diff"], { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
    return status + diff;
  } catch {
    return null;
  }
}

async function checkGenerated({ compareGenerated }) {
  const { changed, stale } = await compareGenerated();
  for (const file of changed) console.error(`src/generated/${file} is not what proto/ makes`);
  for (const file of stale) console.error(`src/generated/${file} comes from no file of proto/`);
  if (changed.length + stale.length > 0) console.error("run: npm run generate");
  return changed.length + stale.length === 0;
}

async function main() {
  ensureInstalled();
  const contract = require("./contract");
  const { root, runTool, runScript, parseTotals, finish } = require("./tools");
  const cache = "node_modules/.cache";
  const tool = async (name, ...args) => (await runTool(name, args)).code === 0;
  const checks = [
    ["generated code is current", () => checkGenerated(contract)],
    // A separate build-info file: with a shared one, the build would take this run's output for its own and skip it.
    [
      "types: src",
      () => tool("tsc", "-p", "tsconfig.json", "--noEmit", "--tsBuildInfoFile", `${cache}/tsbuildinfo/check`),
    ],
    ["types: src/raft without Node", () => tool("tsc", "-p", "src/raft/tsconfig.json")],
    ["types: tests and benches", () => tool("tsc", "-p", "tsconfig.test.json")],
    ["lint", () => tool("eslint", "--max-warnings", "0", ".")],
    ["format", () => tool("prettier", "--check", "--log-level", "warn", ".")],
    ["buf lint", () => tool("buf", "lint")],
    ["contract is compatible", () => tool("buf", "breaking", "--against", contract.BASELINE)],
  ];

  const before = trackedState(root);
  const totals = { passed: 0, failed: 0 };
  const report = (name, good, startedMs) => {
    totals[good ? "passed" : "failed"] += 1;
    console.log(`${good ? "ok    " : "FAILED"} ${name} (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`);
  };
  for (const [name, check] of checks) {
    const startedMs = Date.now();
    const good = await check().catch((error) => {
      console.error(error.message);
      return false;
    });
    report(name, good, startedMs);
  }
  if (!process.argv.includes("--no-tests")) {
    const { code, output } = await runScript("test.js", [], { limitMs: 20 * 60_000 });
    const tests = parseTotals(output) ?? { passed: 0, failed: 1 };
    totals.passed += tests.passed;
    totals.failed += code === 0 ? tests.failed : Math.max(tests.failed, 1);
  }
  if (before !== null) report("the working tree is as it was", trackedState(root) === before, Date.now());
  finish(totals);
}

main().catch((error) => {
  console.error(`muster: ${error.message}`);
  process.exitCode = 1;
});
