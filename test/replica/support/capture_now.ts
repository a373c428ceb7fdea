/** A capture of a small state, which is ready at once. */
import type { Snapshot } from "../../../src/raft/index";

export function captureNow(from: { capture(done: (snapshot: Snapshot) => void): () => void }): Snapshot {
  const captured: Snapshot[] = [];
  from.capture((snapshot) => captured.push(snapshot))();
  const [snapshot] = captured;
  if (snapshot === undefined) throw new Error("the state takes more than one turn");
  return snapshot;
}
