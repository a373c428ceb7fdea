/**
 * Measures storage: the durable log on the disk of a directory, and how a long log or a large state affects the start of
 * a member and the latency of the others.
 *
 *     node -r ./scripts/swc-register.js bench/storage.ts [SCENARIO...] [--dir DIR] [--seconds 3]
 *
 *     append     appends per second with 1 and with 64 batches waiting, bytes on disk per entry, opening 15,000 entries
 *     restart    start of a member with 15,000 entries, 10,000 remembered requests and 100,000 tombstones
 *     long-log   start of a member with 1,000,000 entries after its last snapshot
 *     catch-up   a leader's write latency while a follower that missed 100,000 entries catches up by snapshot
 *
 * `--dir` chooses the disk. `--seconds` is the time of one append measurement: raise it for steadier figures. Without a
 * scenario all of them run, which takes some minutes. The last three start members from dist, so run `npm run build`
 * first.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { EntryType, type Entry } from "../src/raft/index";
import { createDataDir } from "../src/storage/data_dir";
import { nodeFs } from "../src/storage/node_fs";
import { readLogOffline } from "../src/storage/offline";
import type { AppendBatch } from "../src/storage/storage";
import { openStorage } from "../src/storage/wal";
import { catchUp } from "./storage_catch_up";
import { append, close } from "./storage_data";
import { longLog, restart } from "./storage_restart";
import { figure, table } from "./table";

const ENTRY_BYTES = 300;
const RESTART_ENTRIES = 15_000;
const IDENTITY = { clusterId: 1n, memberId: 2n, instanceId: new Uint8Array(16).fill(3) };

function batchOf(index: number): AppendBatch {
  const entry: Entry = {
    index,
    term: 1,
    type: EntryType.Normal,
    data: Buffer.alloc(ENTRY_BYTES, index % 251),
    confChange: null,
  };
  return {
    hardState: { term: 1, vote: 2n, commit: index - 1 },
    entries: [entry],
    snapshot: null,
    mustSync: true,
  };
}

interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Keeps `waiting` batches of one entry each in flight for `seconds`. */
async function appendLoad(dir: string, waiting: number, seconds: number): Promise<Measured> {
  await createDataDir(nodeFs, dir, IDENTITY);
  const { storage } = await openStorage(nodeFs, dir);
  const latencies: number[] = [];
  const end = performance.now() + seconds * 1000;
  const start = performance.now();
  const loop = async (): Promise<void> => {
    while (performance.now() < end) {
      const from = performance.now();
      await append(storage, batchOf(storage.lastIndex() + 1));
      latencies.push(performance.now() - from);
    }
  };
  await Promise.all(Array.from({ length: waiting }, loop));
  const elapsed = (performance.now() - start) / 1000;
  await close(storage);
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor(latencies.length * share)] ?? 0;
  return { perSecond: latencies.length / elapsed, p50Ms: at(0.5), p99Ms: at(0.99) };
}

async function reopen(dir: string): Promise<{ readonly openMs: number; readonly bytesPerEntry: number }> {
  await createDataDir(nodeFs, dir, IDENTITY);
  const first = (await openStorage(nodeFs, dir)).storage;
  const writes: Promise<void>[] = [];
  for (let i = 1; i <= RESTART_ENTRIES; i++) writes.push(append(first, batchOf(i)));
  await Promise.all(writes);
  await close(first);
  const from = performance.now();
  const { storage } = await openStorage(nodeFs, dir);
  const openMs = performance.now() - from;
  if (storage.lastIndex() !== RESTART_ENTRIES) throw new Error(`opened up to ${storage.lastIndex()}`);
  await close(storage);
  const { report } = await readLogOffline(dir);
  const used = report.segments.reduce((sum, s) => sum + s.usedBytes, 0);
  return { openMs, bytesPerEntry: used / RESTART_ENTRIES };
}

async function appends(root: string, seconds: number): Promise<void> {
  const rows: string[][] = [];
  for (const waiting of [1, 64]) {
    const { perSecond, p50Ms, p99Ms } = await appendLoad(join(root, `w${waiting}`), waiting, seconds);
    rows.push([String(waiting), ...[perSecond, p50Ms, p99Ms].map(figure)]);
  }
  console.log(`entries of ${ENTRY_BYTES} bytes, one per batch, with a hard state each`);
  console.log(table(["batches waiting", "appends/s", "p50 ms", "p99 ms"], rows));
  const { openMs, bytesPerEntry } = await reopen(join(root, "reopen"));
  console.log(`on disk: ${bytesPerEntry.toFixed(0)} bytes per batch of one entry and a hard state`);
  console.log(`opening ${RESTART_ENTRIES} entries: ${openMs.toFixed(0)} ms\n`);
}

const SCENARIOS: Readonly<Record<string, (root: string, seconds: number) => Promise<void>>> = {
  append: appends,
  restart,
  "long-log": longLog,
  "catch-up": catchUp,
};

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { dir: { type: "string", default: tmpdir() }, seconds: { type: "string", default: "3" } },
  });
  const names = Object.keys(SCENARIOS);
  const unknown = positionals.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`no scenario ${unknown}; there are ${names.join(", ")}`);
  const root = mkdtempSync(join(values.dir, "muster-bench-storage-"));
  // Runs however the process ends.
  process.on("exit", () => {
    rmSync(root, { recursive: true, force: true });
  });
  for (const name of positionals.length === 0 ? names : positionals) {
    await SCENARIOS[name]?.(root, Number(values.seconds));
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
});
