/**
 * A seeded run of storage operations on a recording file system, with a model of every state that the log passes
 * through: one step per record, in the order that the storage promises (term and vote, snapshot, entries, commit).
 */
import type { Entry, HardState, Snapshot } from "../../../src/raft/index";
import { createDataDir } from "../../../src/storage/data_dir";
import { StorageError, type AppendBatch, type Storage } from "../../../src/storage/storage";
import type { OpenOptions } from "../../../src/storage/wal";
import { CrashFs, type Below } from "./crash_fs";
import { batch, close, entries, entry, hardState, IDENTITY, open, settled, SMALL, snapshot } from "./values";

export const DIR = "/data";

/** The log after one record. */
export interface Step {
  readonly state: HardState;
  /** Index of the installed snapshot that replaced the entries up to it. */
  readonly base: number;
  /** "term data" of each entry from base + 1 on, by index. */
  readonly log: ReadonlyMap<number, string>;
  readonly last: number;
}

export function signature(e: Entry): string {
  return `${e.term} ${Buffer.from(e.data).toString("base64")}`;
}

export class Model {
  readonly steps: Step[];
  /** The data of every snapshot that was saved or installed, by index. */
  readonly snapshots = new Map<number, string>();
  /** The hard state of the last batch. A commit index alone is written with the next synced batch only. */
  state: HardState;

  constructor(initial: Step) {
    this.steps = [initial];
    this.state = initial.state;
  }

  get last(): Step {
    const step = this.steps.at(-1);
    if (step === undefined) throw new Error("a model begins with a step");
    return step;
  }

  /** @returns the number of the step that the batch ends with */
  append(parts: AppendBatch): number {
    if (parts.hardState !== null) this.state = parts.hardState;
    const next = this.state;
    const { term, vote, commit } = this.last.state;
    const voted = next.term !== term || next.vote !== vote;
    if (!parts.mustSync && !voted) return this.steps.length - 1;
    this.push({ ...this.last, state: hardState(next.term, next.vote, commit) });
    if (parts.snapshot !== null) {
      const { index } = parts.snapshot.meta;
      this.push({ ...this.last, base: index, last: index, log: new Map() });
    }
    for (const e of parts.entries) {
      const log = new Map(this.last.log);
      for (let i = e.index; i <= this.last.last; i++) log.delete(i);
      log.set(e.index, signature(e));
      this.push({ ...this.last, log, last: e.index });
    }
    this.push({ ...this.last, state: next });
    return this.steps.length - 1;
  }

  private push(step: Step): void {
    this.steps.push(step);
  }
}

/** Payloads for the cases of torn writes: short ones, several sectors, and zeros. */
function payload(below: Below, index: number): string | Uint8Array {
  switch (below(6)) {
    case 0:
      return Buffer.alloc(below(1800));
    case 1:
      return Buffer.alloc(below(1800), 0xff);
    case 2: {
      const data = Buffer.alloc(1600);
      data[below(1600)] = 1;
      return data;
    }
    default:
      return `entry ${index} ${"x".repeat(below(300))}`;
  }
}

export interface Run {
  readonly fs: CrashFs;
  readonly model: Model;
  /** The errors that the storage returned, in order; none without an injected fault. */
  readonly failures: readonly unknown[];
}

/**
 * Ends at the first failure that is final, as a member does. Notes in the journal: "created"; "issued" and "acked" with
 * the step; "saved" with the index of an acknowledged snapshot.
 */
export async function scriptedRun(
  below: Below,
  operations: number,
  fs = new CrashFs(),
  options: OpenOptions = {},
): Promise<Run> {
  const initial = entries(1, 3, 1);
  const model = new Model({
    state: hardState(1, 0n, 3),
    base: 0,
    log: new Map(initial.map((e) => [e.index, signature(e)])),
    last: 3,
  });
  const failures: unknown[] = [];
  const note = (error: unknown): void => {
    // There was no space for a snapshot: the log goes on without it.
    if (!(error instanceof StorageError && error.reason === "disk-full")) failures.push(error);
  };
  try {
    await createDataDir(fs, DIR, IDENTITY, { entries: initial, hardState: hardState(1, 0n, 3) }, SMALL);
    fs.note("created", 0);
    const { storage } = await open(fs, DIR, options);
    await play(fs, storage, model, below, operations, note, () => failures.length === 0);
  } catch (error) {
    failures.push(error);
  }
  return { fs, model, failures };
}

async function play(
  fs: CrashFs,
  storage: Storage,
  model: Model,
  below: Below,
  operations: number,
  failed: (error: unknown) => void,
  goesOn: () => boolean,
): Promise<void> {
  const waiting: Promise<void>[] = [];
  for (let i = 0; i < operations && goesOn(); i++) {
    waiting.push(step(fs, storage, model, below).catch(failed));
    if (below(3) === 0) await Promise.all(waiting.splice(0));
  }
  await Promise.all(waiting);
  // Closing may write the commit index.
  if (goesOn()) fs.note("issued", model.append(batch({ hardState: model.state })));
  await close(storage);
}

function step(fs: CrashFs, storage: Storage, model: Model, below: Below): Promise<void> {
  const { last } = model.last;
  const { state } = model;
  // The batch was refused because of a failure; its callback has not been called yet.
  if (storage.lastIndex() !== last) return Promise.resolve();
  const kind = below(20);
  if (kind === 0 && state.commit > storage.firstIndex()) return saved(fs, storage, model, below);
  if (kind === 1) {
    const index = last + 1 + below(20);
    const value = snapshot(index, state.term, `installed ${index}`);
    return appended(fs, storage, model, {
      hardState: hardState(state.term, state.vote, index),
      snapshot: value,
    });
  }
  if (kind < 5)
    return appended(fs, storage, model, {
      hardState: hardState(state.term + 1, BigInt(below(5)), state.commit),
    });
  if (kind < 8) {
    const commit = state.commit + below(last - state.commit + 1);
    return appended(fs, storage, model, {
      hardState: hardState(state.term, state.vote, commit),
      mustSync: false,
    });
  }
  // A leader of a later term overwrites entries that are not committed.
  const overwrite = kind === 8 && last > state.commit;
  const term = overwrite ? state.term + 1 : state.term;
  const from = overwrite ? state.commit + 1 + below(last - state.commit) : last + 1;
  const list = Array.from({ length: 1 + below(4) }, (_, i) =>
    entry(from + i, term, payload(below, from + i)),
  );
  const commit = Math.min(from - 1 + below(2), state.commit + 3);
  const vote = overwrite ? BigInt(below(5)) : state.vote;
  const next = hardState(term, vote, Math.max(state.commit, commit));
  return appended(fs, storage, model, { hardState: next, entries: list });
}

async function appended(
  fs: CrashFs,
  storage: Storage,
  model: Model,
  parts: Partial<AppendBatch>,
): Promise<void> {
  const whole = batch(parts);
  if (whole.snapshot !== null) model.snapshots.set(whole.snapshot.meta.index, data(whole.snapshot));
  const end = model.append(whole);
  fs.note("issued", end);
  await settled((done) => {
    storage.append(whole, (error) => {
      if (error === null && whole.mustSync) fs.note("acked", end);
      done(error);
    });
  });
}

async function saved(fs: CrashFs, storage: Storage, model: Model, below: Below): Promise<void> {
  const index = model.state.commit;
  const term = storage.term(index);
  if (typeof term !== "number") throw new Error(`no term at ${index}`);
  const value = snapshot(index, term, `saved ${index}`);
  if (!model.snapshots.has(index)) model.snapshots.set(index, data(value));
  await settled((done) => {
    storage.saveSnapshot(value, below(10), (error) => {
      if (error === null) fs.note("saved", index);
      done(error);
    });
  });
}

function data(value: Snapshot): string {
  return Buffer.from(value.data).toString("utf8");
}
