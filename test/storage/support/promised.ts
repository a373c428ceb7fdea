/** The log after any end of a scripted run must have everything acknowledged, and nothing that was not requested. */
import type { Storage } from "../../../src/storage/storage";
import type { Model, Step } from "./scripted_run";
import { signature } from "./scripted_run";
import { allEntries } from "./values";

/** The expected state of the log at one moment of a run. */
export interface Promised {
  created: boolean;
  /** The newest step on disk must lie between these two: the last acknowledged and the last requested step. */
  acked: number;
  issued: number;
  savedIndex: number;
}

export function nothingPromised(): Promised {
  return { created: false, acked: 0, issued: 0, savedIndex: 0 };
}

/** Applies one note of a run's journal. */
export function follow(promised: Promised, note: string, value: number): void {
  if (note === "created") promised.created = true;
  else if (note === "acked") promised.acked = Math.max(promised.acked, value);
  else if (note === "issued") promised.issued = value;
  else if (note === "saved") promised.savedIndex = Math.max(promised.savedIndex, value);
}

/** Whether the recovered log equals the log after `step`. A snapshot implies that its index is committed. */
function matches(storage: Storage, step: Step, snapshots: ReadonlyMap<number, string>): boolean {
  const { hardState: state } = storage.initialState();
  if (state.term !== step.state.term || state.vote !== step.state.vote) return false;
  if (storage.lastIndex() !== step.last || storage.firstIndex() <= step.base) return false;
  const raised = state.commit > step.state.commit && snapshots.has(state.commit);
  if (state.commit !== step.state.commit && !raised) return false;
  return allEntries(storage).every((e) => step.log.get(e.index) === signature(e));
}

/** @throws when something acknowledged is missing, or something is there that was never requested */
export function check(storage: Storage, model: Model, promised: Promised): void {
  const newest = storage.snapshot();
  expect(newest?.meta.index ?? 0).toBeGreaterThanOrEqual(promised.savedIndex);
  if (newest !== null) {
    expect(Buffer.from(newest.data).toString()).toBe(model.snapshots.get(newest.meta.index));
  }
  const candidates = model.steps.slice(promised.acked, promised.issued + 1);
  if (candidates.some((step) => matches(storage, step, model.snapshots))) return;
  const { hardState: state } = storage.initialState();
  const shown = `${state.term}/${state.vote}/${state.commit}, entries ${storage.firstIndex()}..${storage.lastIndex()}`;
  throw new Error(`recovered ${shown} is none of the steps ${promised.acked}..${promised.issued}`);
}
