/**
 * The rows about watches: ten thousand on one member, on a hundred connections. All of them come from one run for each
 * system, on members that were started for it, so that the memory is not what other rows left behind.
 */
import { requestNumber } from "./client";
import type { Subject, ValueScenario } from "./scenarios";
import { eventually, type Member } from "./system";
import { median } from "./table";
import { Watchers } from "./watchers";

const CONNECTIONS = 100;
const PER_CONNECTION = 100;
const COUNT = CONNECTIONS * PER_CONNECTION;
/** Changes that are measured, after some that are not. */
const CHANGES = 20;
const WARM_UP = 5;
/** Between two changes, so that one does not run into the next, in milliseconds. */
const PAUSE_MS = 200;

interface WatchFigures {
  /** From a change to the last watch, in milliseconds. */
  readonly timesMs: readonly number[];
  /** CPU of the watched member in one change, in milliseconds. */
  readonly cpuMs: number;
  /** Memory of the watched member for one watch, in KiB. */
  readonly memoryKib: number;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function measure({ create }: Subject): Promise<WatchFigures> {
  const system = await create();
  const watchers = new Watchers();
  try {
    system.spawn();
    const index = await eventually(`${system.name}: a leader`, 30_000, () => system.leaderIndex());
    const leader = system.members[index];
    const watched = system.members[(index + 1) % system.members.length];
    if (leader === undefined || watched === undefined) throw new Error(`${system.name}: no members`);
    const change = async (): Promise<void> => {
      const { path, body } = system.calls.write;
      await leader.client.call(path, body(requestNumber()));
    };
    // Both systems compile and allocate what every change needs before the memory is measured.
    for (let i = 0; i < 200; i++) await change();
    const beforeKib = residentKib(watched);
    await watchers.open(watched.address, system.watch, CONNECTIONS, PER_CONNECTION);
    return await measureChanges(watchers, change, watched, beforeKib);
  } finally {
    watchers.close();
    await system.destroy();
  }
}

async function measureChanges(
  watchers: Watchers,
  change: () => Promise<void>,
  watched: Member,
  beforeKib: number,
): Promise<WatchFigures> {
  const timesMs: number[] = [];
  let cpuBeforeMs = 0;
  for (let i = -WARM_UP; i < CHANGES; i++) {
    if (i === 0) cpuBeforeMs = cpuMsOf(watched);
    const elapsedMs = await watchers.timeToLast(change);
    if (i >= 0) timesMs.push(elapsedMs);
    await pause(PAUSE_MS);
  }
  return {
    timesMs,
    cpuMs: (cpuMsOf(watched) - cpuBeforeMs) / CHANGES,
    memoryKib: (residentKib(watched) - beforeKib) / COUNT,
  };
}

function residentKib({ process }: Member): number {
  const mib = process.residentMib();
  if (mib === null) throw new Error("this system does not tell a process's memory");
  return mib * 1024;
}

function cpuMsOf({ process }: Member): number {
  const ms = process.cpuMs();
  if (ms === null) throw new Error("this system does not tell a process's CPU time");
  return ms;
}

const measured = new WeakMap<Subject, Promise<WatchFigures>>();

function row(
  id: string,
  what: string,
  unit: ValueScenario["unit"],
  value: (figures: WatchFigures) => number,
): ValueScenario {
  return {
    kind: "value",
    id: `watch.${id}`,
    label: `${COUNT.toLocaleString("en-US")} watches on one follower, ${CONNECTIONS} connections: ${what}`,
    unit,
    once: true,
    async measure(subject) {
      const figures = measured.get(subject) ?? measure(subject);
      measured.set(subject, figures);
      return value(await figures);
    },
  };
}

export const watchRows: readonly ValueScenario[] = [
  row("last", "from a change to the last watch, median", "ms", ({ timesMs }) => median(timesMs)),
  row("last-worst", "the same, the slowest of 20 changes", "ms", ({ timesMs }) => Math.max(...timesMs)),
  row("cpu", "CPU of the member for one change", "ms", ({ cpuMs }) => cpuMs),
  row("memory", "resident memory for one watch", "KiB", ({ memoryKib }) => memoryKib),
];
