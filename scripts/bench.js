/**
 * `npm run bench -- [SCENARIO...] [--peer etcd]`: the benchmark table, from bench/run.ts against the built server.
 * See docs/benchmarks.md for what the rows mean.
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
