/**
 * `npm run bench -- [ROW...] [--peer etcd | --against DIR] [--seconds N] [--repeats N]`: starts three members as separate processes,
 * loads them and prints the table. ROW selects the rows whose id begins with it; `--list` prints the ids.
 *
 * `--peer etcd` also measures a three-member etcd on this machine, in turn with Muster; `--against DIR` the build in
 * another checkout of this repository. `--seconds` is
 * the time of one load, `--repeats` the number of measurements of a row: raise them for steadier figures, lower them for
 * a quick look. Figures are medians over the repeats.
 *
 * Exits with 1 when a row could not be measured or a call failed under load.
 */
import * as os from "node:os";
import { parseArgs } from "node:util";
import type { LoadResult } from "./client";
import { createEtcd, findEtcd, type Sizes } from "./etcd";
import { createMuster, createMusterOf } from "./muster";
import { findOnPath } from "./processes";
import {
  allScenarios,
  type LoadScenario,
  type Scenario,
  type Settings,
  type Subject,
  type ValueScenario,
} from "./scenarios";
import { eventually, type System, type SystemFactory } from "./system";
import { figure, median, table } from "./table";

interface Options {
  readonly scenarios: readonly Scenario[];
  readonly etcd: boolean;
  /** Another checkout that is measured beside this one; null: none. */
  readonly against: string | null;
  readonly repeats: number;
  readonly settings: Settings;
}

class UsageError extends Error {}

function positive(text: string, name: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new UsageError(`--${name} ${text}: must be a number greater than 0`);
  return value;
}

function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      peer: { type: "string" },
      against: { type: "string" },
      seconds: { type: "string", default: "3" },
      repeats: { type: "string", default: "3" },
      list: { type: "boolean", default: false },
    },
  });
  const all = allScenarios();
  if (values.list) {
    console.log(all.map(({ id }) => id).join("\n"));
    process.exit(0);
  }
  if (values.peer !== undefined && values.peer !== "etcd")
    throw new UsageError(`--peer ${values.peer}: only etcd`);
  const scenarios = all.filter(
    ({ id }) => positionals.length === 0 || positionals.some((row) => id.startsWith(row)),
  );
  const unknown = positionals.find((row) => !all.some(({ id }) => id.startsWith(row)));
  if (unknown !== undefined) throw new UsageError(`no row begins with ${unknown}; see --list`);
  if (values.peer !== undefined && values.against !== undefined)
    throw new UsageError("--peer and --against: one of them");
  if (values.peer === "etcd") findEtcd();
  return {
    scenarios,
    etcd: values.peer === "etcd",
    against: values.against ?? null,
    repeats: Math.round(positive(values.repeats, "repeats")),
    settings: {
      seconds: positive(values.seconds, "seconds"),
      warmUpSeconds: 1,
      h2loadFile: findOnPath("h2load"),
    },
  };
}

async function startSystem(create: SystemFactory): Promise<Subject> {
  const system = await create();
  system.spawn();
  try {
    await eventually(`${system.name}: a leader`, 30_000, () => system.leaderIndex());
    await system.prepare();
  } catch (error) {
    const tails = system.members.map(({ name, process }) => `${name}: ${process.logTail()}`);
    throw new Error([`${system.name} did not start`, ...tails].join("\n"), { cause: error });
  }
  return { system, create };
}

/** The lengths of Muster's request and response, so that the other system can be given calls of equal size. */
async function measureSizes({ calls, members }: System): Promise<Sizes> {
  const [first] = members;
  const { path, body } = calls.linearizableRead;
  const answer = await first?.client.call(path, body(0));
  return { writeRequest: calls.write.body(0).length, readAnswer: answer?.length ?? 0 };
}

/** The results of one row, by system. */
type Measured = Map<string, { loads: LoadResult[]; values: number[]; problem: string | null }>;

async function measureRow(
  scenario: Scenario,
  subjects: readonly Subject[],
  options: Options,
): Promise<Measured> {
  const measured: Measured = new Map(
    subjects.map(({ system }) => [system.name, { loads: [], values: [], problem: null }]),
  );
  const repeats = scenario.kind === "value" && scenario.once ? 1 : options.repeats;
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const subject of subjects) {
      const cell = measured.get(subject.system.name);
      if (cell === undefined || cell.problem !== null) continue;
      try {
        if (scenario.kind === "value") cell.values.push(await scenario.measure(subject));
        else cell.loads.push(await scenario.measure(subject, options.settings));
      } catch (error) {
        cell.problem = error instanceof Error ? error.message : String(error);
      }
      const failed = cell.loads.find(({ errors }) => errors > 0);
      if (failed !== undefined) cell.problem ??= `${failed.errors} calls failed: ${failed.firstError ?? ""}`;
    }
  }
  return measured;
}

interface Rates {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

function ratesOf(loads: readonly LoadResult[]): Rates {
  return {
    rate: median(loads.map(({ callsPerSecond }) => callsPerSecond)),
    p50: median(loads.map(({ p50 }) => p50)),
    p99: median(loads.map(({ p99 }) => p99)),
  };
}

function loadTable(rows: readonly (readonly [LoadScenario, Measured])[], names: readonly string[]): string {
  const head = [
    "calls",
    ...names.flatMap((name) => [`${name}/s`, "p50 ms", "p99 ms"]),
    ...(names[1] ? ["ratio"] : []),
  ];
  const body = rows.map(([scenario, measured]) => {
    const rates = names.map((name) => ratesOf(measured.get(name)?.loads ?? []));
    const [ours, theirs] = rates;
    const ratio = ours && theirs ? [figure(ours.rate / theirs.rate)] : [];
    return [scenario.label, ...rates.flatMap(({ rate, p50, p99 }) => [rate, p50, p99].map(figure)), ...ratio];
  });
  return table(head, body);
}

function valueTable(rows: readonly (readonly [ValueScenario, Measured])[], names: readonly string[]): string {
  const head = [
    "",
    "unit",
    ...names.flatMap((name) => [name, "least", "most"]),
    ...(names[1] ? ["ratio"] : []),
  ];
  const body = rows.map(([scenario, measured]) => {
    const values = names.map((name) => measured.get(name)?.values ?? []);
    const [ours, theirs] = values;
    // Lower is better in this table, so the ratio is inverted: above 1 means that Muster is better in both tables.
    const ratio = ours && theirs ? [figure(median(theirs) / median(ours))] : [];
    const cells = values.flatMap((list) => [median(list), Math.min(...list), Math.max(...list)].map(figure));
    return [scenario.label, scenario.unit, ...cells, ...ratio];
  });
  return table(head, body);
}

function printNotes(subjects: readonly Subject[], { settings, repeats }: Options): void {
  const cpu = os.cpus();
  const reads = settings.h2loadFile === null ? "reads by the same client" : "reads by h2load";
  console.log(
    `${cpu.length} x ${cpu[0]?.model ?? "cpu"}, Node ${process.version}; servers and client share it.`,
  );
  console.log(`Medians of ${repeats} x ${settings.seconds} s, after ${settings.warmUpSeconds} s; ${reads}.`);
  for (const { system } of subjects) {
    const { read, serializable, write, change } = system.callNames;
    console.log(
      `${system.name} ${system.version}: ${read}; ${serializable} (serializable); ${write}; ${change}.`,
    );
  }
  console.log("");
}

async function measureAll(options: Options, subjects: readonly Subject[]): Promise<[Scenario, Measured][]> {
  const results: [Scenario, Measured][] = [];
  for (const scenario of options.scenarios) {
    process.stderr.write(`${scenario.id}\n`);
    results.push([scenario, await measureRow(scenario, subjects, options)]);
  }
  return results;
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  const subjects: Subject[] = [await startSystem(createMuster)];
  try {
    const ours = subjects[0]?.system;
    if (options.etcd && ours !== undefined) {
      const sizes = await measureSizes(ours);
      subjects.push(await startSystem(() => createEtcd(sizes)));
    }
    if (options.against !== null) subjects.push(await startSystem(createMusterOf(options.against)));
    const results = await measureAll(options, subjects);
    const names = subjects.map(({ system }) => system.name);
    const loads = results.flatMap(([s, m]) => (s.kind === "load" ? [[s, m] as const] : []));
    const values = results.flatMap(([s, m]) => (s.kind === "value" ? [[s, m] as const] : []));
    printNotes(subjects, options);
    if (loads.length > 0) console.log(`${loadTable(loads, names)}\n`);
    if (values.length > 0) console.log(`${valueTable(values, names)}\n`);
    if (names.length > 1) console.log("A ratio above 1 means that muster did better.");
    let problems = 0;
    for (const [{ id }, measured] of results) {
      for (const [name, { problem }] of measured) {
        if (problem === null) continue;
        problems += 1;
        console.log(`PROBLEM ${id}, ${name}: ${problem}`);
      }
    }
    return problems === 0 ? 0 : 1;
  } finally {
    await Promise.all(subjects.map(({ system }) => system.destroy()));
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(error instanceof UsageError ? 2 : 1);
  },
);
