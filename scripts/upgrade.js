/**
 * `npm run upgrade`: members of the version before and of this one in one cluster, upgraded and downgraded under load
 * (test/upgrade). Builds both if needed; arguments go to jest. The last line is `N passed, N failed`.
 *
 * The version before is built from the repository's history. Where that does not have it (a shallow clone, a tarball), says
 * so and ends with 0.
 */
"use strict";
const { ensureBuilt, ensureInstalled } = require("./ensure");
const { OLD, ensureOldBuild, hasOldCommit } = require("./old_build");
const { finish } = require("./tools");

async function main() {
  if (!hasOldCommit()) {
    console.log(`upgrade: left out, the history of this clone does not have version ${OLD.version}`);
    return;
  }
  ensureInstalled();
  ensureBuilt();
  ensureOldBuild();
  // Loaded here and not at the top, because it needs installed packages.
  const { runJest } = require("./jest");
  finish(await runJest({ name: "upgrade", workers: 1, limitMs: 6 * 60_000 }, process.argv.slice(2)));
}

main().catch((error) => {
  console.error(`muster: ${error.message}`);
  finish({ passed: 0, failed: 1 });
});
