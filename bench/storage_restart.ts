/**
 * The time from the start of a single member's process to its first linearizable answer, and its memory, with an empty
 * data directory and with large ones.
 *
 * Every row has the shortest election timeout that the configuration allows, so that the election takes little of the
 * measured time.
 */
import * as fs from "node:fs";
import * as net from "node:net";
import * as path from "node:path";
import { MemberClient } from "./client";
import { MemberProcess } from "./processes";
import {
  appendNext,
  close,
  History,
  openAfter,
  planMembers,
  saveSnapshot,
  serverArgs,
  serverArgsWithoutSnapshots,
} from "./storage_data";
import type { PlannedMember } from "./storage_data";
import { Contract } from "./system";
import { figure, median, table } from "./table";

const SETTINGS = { "heartbeat-interval": "20", "election-timeout": "100" };
const TOMBSTONES = 100_000;
const REMEMBERED = 10_000;
/** Entries before the newest snapshot, kept for followers. */
const KEPT_ENTRIES = 5_000;
/** Entries after the newest snapshot: the most there can be before the next one. */
const REPLAYED_ENTRIES = 10_000;
const LONG_ENTRIES = 1_000_000;
/** Measurements per row; the figures are their medians. */
const REPEATS = 5;
const START_LIMIT_MS = 300_000;

const contract = new Contract("muster/v1/membership_service.proto", "../proto");
const SERVICE = "muster.v1.MembershipService";

interface Start {
  /** Milliseconds from the start of the process to the first linearizable answer. */
  readonly readyMs: number;
  /** Peak resident memory of the process until then, in MiB. */
  readonly peakMib: number;
}

async function measureStart(member: PlannedMember, args: readonly string[], folder: string): Promise<Start> {
  const process_ = new MemberProcess(member.name, process.execPath, args, path.join(folder, "log"));
  const startMs = performance.now();
  const endMs = startMs + START_LIMIT_MS;
  process_.start();
  try {
    // Wait for the port here: the backoff between the client's attempts would be part of the measured time.
    while (!(await accepts(member.adminPort))) {
      if (!process_.running || performance.now() > endMs) throw new Error(`no start:\n${process_.logTail()}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const client = new MemberClient(`127.0.0.1:${member.adminPort}`);
    const request = { consistency: "CONSISTENCY_LINEARIZABLE" };
    const body = contract.encode(SERVICE, "GetMembers", request);
    await client.call(contract.path(SERVICE, "GetMembers"), body, START_LIMIT_MS);
    const readyMs = performance.now() - startMs;
    client.close();
    return { readyMs, peakMib: peakMib(process_.pid) };
  } finally {
    await process_.end("SIGKILL");
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Peak resident memory in MiB; NaN on systems without /proc. */
function peakMib(pid: number): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
    return Number(match?.[1] ?? NaN) / 1024;
  } catch {
    return NaN;
  }
}

function sizeMib(dir: string): number {
  const files = fs.readdirSync(dir, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  return (
    files.reduce((sum, { parentPath, name }) => sum + fs.statSync(path.join(parentPath, name)).size, 0) /
    2 ** 20
  );
}

const HEAD = ["start of one member", "first answer ms", "fastest", "slowest", "peak MiB", "on disk MiB"];

function row(name: string, starts: readonly Start[], diskMib: number): string[] {
  const times = starts.map(({ readyMs }) => readyMs);
  const peak = median(starts.map((start) => start.peakMib));
  return [name, ...[median(times), Math.min(...times), Math.max(...times), peak, diskMib].map(figure)];
}

/** Measures starts with the longest log between automatic snapshots, a full request memory, and many tombstones. */
export async function restart(root: string): Promise<void> {
  const members = await planMembers(1, SETTINGS);
  const [member] = members;
  if (member === undefined) throw new Error("no member");
  const prepared = path.join(root, "restart");
  const history = new History(members);
  history.addTombstones(TOMBSTONES);
  history.skip(REMEMBERED);
  const storage = await openAfter(history, member, prepared, history.snapshot());
  await appendNext(history, [storage], KEPT_ENTRIES);
  await saveSnapshot(storage, history.snapshot(), KEPT_ENTRIES);
  await appendNext(history, [storage], REPLAYED_ENTRIES);
  await close(storage);

  const starts: Record<"empty" | "full", Start[]> = { empty: [], full: [] };
  for (let i = 0; i < REPEATS; i++) {
    // Each start gets a copy of the directory, because it takes the snapshot that is due and so changes it.
    const [empty, full] = [path.join(root, `empty-${i}`), path.join(root, `full-${i}`)];
    fs.cpSync(prepared, full, { recursive: true });
    starts.empty.push(await measureStart(member, serverArgs(member.flags(empty)), root));
    starts.full.push(await measureStart(member, serverArgs(member.flags(full)), root));
    for (const dir of [empty, full]) fs.rmSync(dir, { recursive: true });
  }
  const what = `${figure(KEPT_ENTRIES + REPLAYED_ENTRIES)} entries, ${figure(REMEMBERED)} requests, ${figure(TOMBSTONES)} tombstones`;
  console.log(table(HEAD, [row("empty", starts.empty, 0), row(what, starts.full, sizeMib(prepared))]));
  const more = median(starts.full.map((s) => s.readyMs)) - median(starts.empty.map((s) => s.readyMs));
  console.log(`more than the empty start: ${figure(more)} ms (goal: less than 2,000)\n`);
}

/** Measures starts with a million entries after the last snapshot, with snapshots turned off. */
export async function longLog(root: string): Promise<void> {
  const members = await planMembers(1, SETTINGS);
  const [member] = members;
  if (member === undefined) throw new Error("no member");
  const prepared = path.join(root, "long");
  const history = new History(members);
  const storage = await openAfter(history, member, prepared, history.snapshot());
  await appendNext(history, [storage], LONG_ENTRIES);
  await close(storage);
  const diskMib = sizeMib(prepared);

  const empty: Start[] = [];
  const long: Start[] = [];
  for (let i = 0; i < 3; i++) {
    const dir = path.join(root, `empty-${i}`);
    empty.push(await measureStart(member, serverArgsWithoutSnapshots(member.flags(dir)), root));
    // Every start runs on the same directory and adds only an entry or two.
    long.push(await measureStart(member, serverArgsWithoutSnapshots(member.flags(prepared)), root));
  }
  const what = `${figure(LONG_ENTRIES)} entries after the last snapshot`;
  console.log("automatic snapshots off");
  console.log(`${table(HEAD, [row("empty", empty, 0), row(what, long, diskMib)])}\n`);
}
