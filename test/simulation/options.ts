/** The command line of the simulation. */
import { FAULTS, isFault } from "./profile";
import type { Fault } from "./profile";

export interface SimOptions {
  readonly firstSeed: number;
  readonly lastSeed: number;
  readonly events: number;
  readonly without: readonly Fault[];
  /** Names of planted bugs, "all", "recorded" (runs the seeds of plants/found.json again), or null for none. */
  readonly plant: string | null;
  /** Whether to write plants/found.json. */
  readonly record: boolean;
  readonly append: string | null;
  readonly shrink: boolean;
  readonly twice: boolean;
  readonly trace: boolean;
  readonly workers: number | null;
}

export const USAGE =
  "usage: npm run sim -- --seeds A..B --events N [--plant NAME|all|recorded] [--record] [--append FILE] [--shrink] [--twice] [--trace]\n" +
  `       [--workers N] [--without A,B]   what can be left out: ${FAULTS.join(", ")}`;

/** @returns the options, or an error message */
export function parseOptions(argv: readonly string[]): SimOptions | string {
  const values = new Map<string, string>();
  const flags = new Set<string>();
  for (let i = 0; i < argv.length; i++) {
    const name = argv[i] ?? "";
    if (["--shrink", "--twice", "--trace", "--record"].includes(name)) flags.add(name);
    else if (["--seeds", "--events", "--plant", "--append", "--workers", "--without"].includes(name)) {
      const value = argv[++i];
      if (value === undefined) return `${name} needs a value`;
      values.set(name, value);
    } else return `unknown option ${name}`;
  }
  const range = /^(\d+)(?:\.\.(\d+))?$/.exec(values.get("--seeds") ?? "1..100");
  if (range === null) return "--seeds takes A..B";
  const firstSeed = Number(range[1]);
  const lastSeed = Number(range[2] ?? range[1]);
  if (lastSeed < firstSeed) return "--seeds: the last seed is before the first";
  const events = Number(values.get("--events") ?? 5000);
  if (!Number.isInteger(events) || events < 1) return "--events takes a whole number";
  const without = (values.get("--without") ?? "").split(",").filter((name) => name !== "");
  const unknown = without.find((name) => !isFault(name));
  if (unknown !== undefined) return `--without: there is no ${unknown}`;
  const workers = values.get("--workers");
  if (workers !== undefined && !/^[1-9]\d*$/.test(workers)) return "--workers takes a number";
  return {
    firstSeed,
    lastSeed,
    events,
    without: without.filter(isFault),
    plant: values.get("--plant") ?? null,
    append: values.get("--append") ?? null,
    record: flags.has("--record"),
    shrink: flags.has("--shrink"),
    twice: flags.has("--twice"),
    trace: flags.has("--trace"),
    workers: workers === undefined ? null : Number(workers),
  };
}
