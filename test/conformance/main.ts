/**
 * The conformance command: `SUITE DIR [--rewrite]` runs every script of a folder against the core.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { runFile as runConfChangeFile } from "./confchange";
import { rewriteInteractionFile, runInteractionFile } from "./interaction";
import { runFile as runQuorumFile } from "./quorum";
import type { ScriptResult } from "./compare";

const SUITES: Readonly<Record<string, (path: string) => ScriptResult>> = {
  interaction: runInteractionFile,
  confchange: runConfChangeFile,
  quorum: runQuorumFile,
};

const USAGE = `usage: SUITE DIR [--rewrite]   SUITE is one of ${Object.keys(SUITES).join(", ")}`;

/** A script that can't be read, or makes the core throw, has failed; the others still run. */
function runSafely(run: (path: string) => ScriptResult, path: string): ScriptResult {
  try {
    return run(path);
  } catch (error) {
    return {
      passed: false,
      firstDifference: `${path}: ${error instanceof Error ? String(error.stack) : String(error)}`,
    };
  }
}

/** @returns the exit code: 0 when all scripts passed, 1 when one failed, 2 for wrong usage */
export function main(argv: readonly string[]): number {
  const rewrite = argv.includes("--rewrite");
  const [suite = "", dir, ...rest] = argv.filter((arg) => arg !== "--rewrite");
  const run = SUITES[suite];
  if (run === undefined || dir === undefined || rest.length > 0 || (rewrite && suite !== "interaction")) {
    console.error(USAGE);
    return 2;
  }
  let scripts: string[];
  try {
    scripts = readdirSync(dir)
      .filter((name) => name.endsWith(".txt"))
      .sort();
  } catch (error) {
    console.error(`cannot read ${dir}: ${error instanceof Error ? error.message : String(error)}`);
    return 2;
  }
  let failed = 0;
  for (const name of scripts) {
    const path = join(dir, name);
    if (rewrite) rewriteInteractionFile(path);
    const result = runSafely(run, path);
    if (!result.passed) failed++;
    console.log(`${result.passed ? "PASS" : "FAIL"} ${name}`);
    if (result.firstDifference !== undefined) console.log(result.firstDifference);
  }
  console.log(`${scripts.length - failed} passed, ${failed} failed`);
  // A folder without scripts proves nothing.
  return failed > 0 || scripts.length === 0 ? 1 : 0;
}
