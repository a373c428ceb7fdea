/**
 * `npm run sim -- --seeds A..B --events N [--plant NAME]`: the deterministic simulation, see docs/simulation.md. Last
 * line `N passed, N failed`, counted in seeds. Runs the sources as they stand: needs no build.
 */
"use strict";
const { spawnSync } = require("node:child_process");
const path = require("node:path");
const { ensureInstalled } = require("./ensure");

const root = path.resolve(__dirname, "..");
const args = process.argv.slice(2);
// npm changes to the repository's root; a relative file means where the caller was.
const append = args.indexOf("--append") + 1;
if (append > 0 && args[append] !== undefined) {
  args[append] = path.resolve(process.env.INIT_CWD ?? process.cwd(), args[append]);
}

try {
  ensureInstalled();
  const runner = ["-r", "./scripts/swc-register.js", "test/simulation/run_main.ts", ...args];
  const { status } = spawnSync(process.execPath, runner, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  process.exitCode = status ?? 1;
} catch (error) {
  console.error(`muster: ${error.message}`);
  process.exitCode = 1;
}
