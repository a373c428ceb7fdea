/**
 * Shared by the scripts: the path of the repository, starting its tools, and the line of totals with which every suite
 * ends.
 *
 * Every child gets an empty stdin, a time limit, and a process group of its own, so that a suite that hangs is killed
 * together with all processes that it started.
 */
"use strict";
const { spawn } = require("node:child_process");
const path = require("node:path");

const root = path.resolve(__dirname, "..");

/** Entry files of the development tools. Run with the current Node, so that neither a shell nor PATH matters. */
const tools = {
  buf: "node_modules/@bufbuild/buf/bin/buf",
  eslint: "node_modules/eslint/bin/eslint.js",
  jest: "node_modules/jest/bin/jest.js",
  prettier: "node_modules/prettier/bin/prettier.cjs",
  tsc: "node_modules/typescript/bin/tsc",
};

/** Process groups that still run; killed when this process is stopped. */
const running = new Set();

/** How long to wait for a child's output to close after its exit, in milliseconds. */
const OUTPUT_GRACE_MS = 5000;

/** Set by the first signal; no further program is started then. */
let stopping = false;

function endGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The process group has already ended.
  }
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.once(signal, () => {
    stopping = true;
    if (running.size === 0) process.exit(130);
    for (const child of running) endGroup(child, "SIGTERM");
    // A group that ignores SIGTERM must not outlive the run.
    setTimeout(() => {
      for (const child of running) endGroup(child, "SIGKILL");
      process.exit(130);
    }, 3000);
  });
}

function forget(child) {
  running.delete(child);
  if (stopping && running.size === 0) process.exit(130);
}

/**
 * Runs one program in the repository.
 *
 * @param {string} file the program
 * @param {string[]} args
 * @param {{ limitMs?: number, quiet?: boolean, env?: Record<string, string>, onChild?: (child) => void }} options
 *   limitMs: after this time the whole process group is killed (default 10 minutes). quiet: the output is not printed.
 * @returns {Promise<{ code: number, output: string, timedOut: boolean }>} code is 1 when the program did not start and
 *   124 when it was killed at the time limit; output is the last MiB of stdout and stderr.
 */
function run(file, args, options = {}) {
  const { limitMs = 600_000, quiet = false, env = {}, onChild } = options;
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    let output = "";
    let timedOut = false;
    const collect = (stream, sink) =>
      stream.setEncoding("utf8").on("data", (chunk) => {
        output = (output + chunk).slice(-1_048_576);
        if (!quiet) sink.write(chunk);
      });
    collect(child.stdout, process.stdout);
    collect(child.stderr, process.stderr);
    running.add(child);
    onChild?.(child);
    const limit = setTimeout(() => {
      timedOut = true;
      console.error(`ended after ${limitMs / 1000} s: ${[path.basename(file), ...args].join(" ")}`);
      endGroup(child, "SIGKILL");
    }, limitMs);
    const settle = (code) => {
      clearTimeout(limit);
      forget(child);
      resolve({ code: timedOut ? 124 : code, output, timedOut });
    };
    child.on("error", (error) => {
      output += `${error.message}\n`;
      settle(1);
    });
    // "close" waits until every process that inherited the output has closed it. Do not wait for one that left the group.
    child.on("exit", (code) => setTimeout(settle, OUTPUT_GRACE_MS, code ?? 128));
    child.on("close", (code) => settle(code ?? 128));
  });
}

/** Runs one of `tools` with this Node. */
function runTool(name, args, options) {
  return run(process.execPath, [path.join(root, tools[name]), ...args], options);
}

/** Runs a script of this folder. */
function runScript(name, args, options) {
  return run(process.execPath, [path.join(__dirname, name), ...args], options);
}

/** The totals in the last line that is not blank; null when that line has none. */
function parseTotals(output) {
  const last = output.trimEnd().split("\n").at(-1) ?? "";
  const match = /^(\d+) passed, (\d+) failed$/.exec(last.trim());
  return match === null ? null : { passed: Number(match[1]), failed: Number(match[2]) };
}

/** The line that `parseTotals` reads. */
function formatTotals({ passed, failed }) {
  return `${passed} passed, ${failed} failed`;
}

/**
 * Prints the totals as the last line and exits, with 0 only when something ran and nothing failed. Exits only once the
 * line is written, because writes to a pipe are asynchronous.
 */
function finish(totals) {
  process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
  process.stdout.write(`${formatTotals(totals)}\n`, () => process.exit());
}

module.exports = { root, run, runTool, runScript, endGroup, parseTotals, formatTotals, finish };
