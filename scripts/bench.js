/**
 * `npm run bench -- [SCENARIO...] [--peer etcd | --against DIR]`: runs bench/run.ts against the built server and prints the benchmark
 * table. docs/benchmarks.md explains its rows.
 */
"use strict";
const { spawn } = require("node:child_process");
const path = require("node:path");
const { ensure } = require("./ensure");

ensure();
const runner = ["-r", "./scripts/swc-register.js", "bench/run.ts", ...process.argv.slice(2)];
const child = spawn(process.execPath, runner, {
  cwd: path.resolve(__dirname, ".."),
  stdio: ["ignore", "inherit", "inherit"],
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code) => process.exit(code ?? 1));
