/**
 * Runs a TypeScript program of test/ without a build. Used by sim.js, histories.js and conformance.js.
 */
"use strict";
const { spawnSync } = require("node:child_process");
const path = require("node:path");
const { ensureInstalled } = require("./ensure");

const root = path.resolve(__dirname, "..");

/**
 * Resolves a path argument. npm runs scripts in the repository's root, but a relative path is meant from the directory
 * in which npm was called.
 */
function callerPath(given) {
  return path.resolve(process.env.INIT_CWD ?? process.cwd(), given);
}

/** Installs packages if needed, runs `program` with `args` and ends this process with its exit code. */
function runSource(program, args) {
  try {
    ensureInstalled();
    const runner = ["-r", "./scripts/swc-register.js", program, ...args];
    const { status } = spawnSync(process.execPath, runner, {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
    });
    process.exitCode = status ?? 1;
  } catch (error) {
    console.error(`muster: ${error.message}`);
    process.exitCode = 1;
  }
}

module.exports = { callerPath, runSource };
