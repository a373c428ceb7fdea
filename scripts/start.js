/**
 * `npm start`: installs and builds if needed, then runs `muster dev` with the given arguments.
 *
 * `muster dev` is a child in the same process group, so a terminal's Ctrl-C reaches it directly. SIGINT is forwarded only
 * without a terminal: otherwise one keypress would arrive as two signals, and the second one kills at once.
 */
"use strict";
const { spawn } = require("node:child_process");
const os = require("node:os");
const path = require("node:path");
const { ensure } = require("./ensure");

ensure();
const main = path.join(__dirname, "..", "dist", "cli", "main.js");
const child = spawn(process.execPath, [main, "dev", ...process.argv.slice(2)], { stdio: "inherit" });

process.on("SIGINT", () => {
  if (!process.stdin.isTTY) child.kill("SIGINT");
});
for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));

child.on("error", (error) => {
  console.error(`muster: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(code ?? 128 + (os.constants.signals[signal] ?? 0)));
