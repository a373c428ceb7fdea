/** Waiting for what real connections do, by turns of the event loop. */

/** Shorter than the time limit of a test that waits, so that its loop ends with it. */
const WAIT_MS_MAX = 15_000;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Settles once `condition` holds; rejects when it does not within 15 seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + WAIT_MS_MAX;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`not within ${WAIT_MS_MAX} ms: ${condition.toString()}`);
    await turn();
  }
}

/** Lets everything that is ready in the event loop happen. */
export async function settle(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await turn();
}
