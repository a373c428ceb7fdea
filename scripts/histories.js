/**
 * `npm run histories -- DIR`: runs the linearizability checker on histories with known verdicts. The last line is
 * `N passed, N failed`, counted in histories. Runs the TypeScript sources; needs no build.
 */
"use strict";
const { callerPath, runSource } = require("./run_source");

const [folder, ...rest] = process.argv.slice(2);
runSource("test/simulation/histories/run.ts", folder === undefined ? [] : [callerPath(folder), ...rest]);
