/**
 * The histories command: checks every history of a folder for linearizability and compares the verdict with the known
 * one. Jepsen logs have their verdicts in VERDICTS.tsv; names of kv histories end with `ok` or `bad`.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { checkLinearizable } from "../linearizability";
import type { Verdict } from "../linearizability";
import { kvModel, parseKv } from "./kv";
import { parseRegister, registerModel } from "./register";

const USAGE = "usage: npm run histories -- DIR";

interface Known {
  readonly path: string;
  readonly linearizable: boolean;
}

/** @throws Error when the folder can't be read */
export function knownHistories(dir: string): Known[] {
  const verdicts = join(dir, "VERDICTS.tsv");
  if (existsSync(verdicts)) {
    const lines = readFileSync(verdicts, "utf8").trim().split("\n").slice(1);
    return lines.map((line) => {
      const [name = "", verdict = ""] = line.split("\t");
      return { path: join(dir, name), linearizable: verdict.trim() === "true" };
    });
  }
  const names = readdirSync(dir).filter((name) => /-(ok|bad)\.txt$/.test(name));
  return names.sort().map((name) => ({ path: join(dir, name), linearizable: name.endsWith("-ok.txt") }));
}

export function verdictOf(path: string): Verdict {
  const text = readFileSync(path, "utf8");
  if (path.endsWith(".log")) return checkLinearizable(registerModel, parseRegister(text));
  let undecided = false;
  for (const operations of parseKv(text).values()) {
    const verdict = checkLinearizable(kvModel, operations);
    if (verdict === "not linearizable") return verdict;
    undecided ||= verdict === "undecided";
  }
  return undecided ? "undecided" : "linearizable";
}

/** @returns the exit code: 0 when all verdicts match, 1 when one does not, 2 for wrong usage */
export function main(argv: readonly string[]): number {
  const [dir, ...rest] = argv;
  if (dir === undefined || rest.length > 0) {
    console.error(USAGE);
    return 2;
  }
  let known: Known[];
  try {
    known = knownHistories(dir);
  } catch (error) {
    console.error(`cannot read ${dir}: ${error instanceof Error ? error.message : String(error)}`);
    return 2;
  }
  let failed = 0;
  for (const { path, linearizable } of known) {
    const started = performance.now();
    const verdict = verdictOf(path);
    const isRight = verdict === (linearizable ? "linearizable" : "not linearizable");
    if (!isRight) failed++;
    const ms = (performance.now() - started).toFixed(0);
    console.log(`${isRight ? "PASS" : "FAIL"} ${basename(path)} ${verdict} (${ms} ms)`);
  }
  console.log(`${known.length - failed} passed, ${failed} failed`);
  return failed > 0 || known.length === 0 ? 1 : 0;
}
