/**
 * `npm run conformance -- SUITE DIR`: runs the scripts in a folder (suite interaction, confchange or quorum) against the
 * Raft core. The last line is `N passed, N failed`, counted in scripts. Runs the TypeScript sources; needs no build.
 */
"use strict";
const { callerPath, runSource } = require("./run_source");

const [suite, folder, ...rest] = process.argv.slice(2);
const args = folder === undefined ? process.argv.slice(2) : [suite, callerPath(folder), ...rest];
runSource("test/conformance/run.ts", args);
