/**
 * Runs one project of jest.config.js, or a part of it, and returns its totals. If jest reports no totals, or does not
 * exit after its last test, that counts as one failure.
 */
"use strict";
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { root, runTool, endGroup } = require("./tools");

/** How long jest may take to exit after its last test, in milliseconds. */
const EXIT_GRACE_MS = 15_000;

/** Kills `child` when it has not exited EXIT_GRACE_MS after writing its totals. */
function watchExit(child, totalsFile, onLingering) {
  let timer = setInterval(() => {
    if (!fs.existsSync(totalsFile)) return;
    clearInterval(timer);
    timer = setTimeout(() => {
      onLingering();
      endGroup(child, "SIGKILL");
    }, EXIT_GRACE_MS);
  }, 250);
  return () => {
    clearTimeout(timer);
    clearInterval(timer);
  };
}

/**
 * @param {{ name: string, workers: number, limitMs: number }} project
 * @param {string[]} args more arguments for jest
 * @param {Record<string, string>} env
 * @returns {Promise<{ passed: number, failed: number }>}
 */
async function runJest(project, args, env = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "muster-test-"));
  const totalsFile = path.join(folder, "totals");
  let lingering = false;
  let stopWatching = () => undefined;
  try {
    const result = await runTool(
      "jest",
      [
        // The caller's arguments come first: a path after one of jest's list options would be taken into that list.
        ...args,
        ...["--selectProjects", project.name, "--maxWorkers", String(project.workers)],
        ...["--ci", "--passWithNoTests"],
        ...["--reporters", "default", "--reporters", path.join(root, "test", "reporter.js")],
      ],
      {
        limitMs: project.limitMs,
        env: { ...env, MUSTER_TEST_TOTALS: totalsFile },
        onChild: (child) => {
          stopWatching = watchExit(child, totalsFile, () => (lingering = true));
        },
      },
    );
    stopWatching();
    let totals = { passed: 0, failed: 0 };
    if (fs.existsSync(totalsFile)) totals = JSON.parse(fs.readFileSync(totalsFile, "utf8"));
    if (lingering) {
      const graceS = EXIT_GRACE_MS / 1000;
      console.error(
        `${project.name}: jest did not end within ${graceS} s of its last test: something is left open`,
      );
      totals.failed += 1;
    } else if (result.code !== 0 && totals.failed === 0) {
      console.error(`${project.name}: jest ended with ${result.code}`);
      totals.failed += 1;
    }
    return totals;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

module.exports = { runJest };
