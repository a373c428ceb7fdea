/**
 * `npm run histories -- DIR`: the linearizability checker against histories with known verdicts. Last
 * line `N passed, N failed`, counted in histories. Runs the sources as they stand: needs no build.
 */
"use strict";
const { spawnSync } = require("node:child_process");
const path = require("node:path");
const { ensureInstalled } = require("./ensure");

const root = path.resolve(__dirname, "..");
// npm changes to the repository's root; a relative folder means where the caller was.
const here = process.env.INIT_CWD ?? process.cwd();
const [folder, ...rest] = process.argv.slice(2);
const args = folder === undefined ? [] : [path.resolve(here, folder), ...rest];

try {
  ensureInstalled();
  const runner = ["-r", "./scripts/swc-register.js", "test/simulation/histories/run.ts", ...args];
  const { status } = spawnSync(process.execPath, runner, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  process.exitCode = status ?? 1;
} catch (error) {
  console.error(`muster: ${error.message}`);
  process.exitCode = 1;
}
