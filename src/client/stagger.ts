/**
 * Starts attempts side by side, one after the other with a delay between, and takes the first that is good: a dead
 * address costs a delay, not its whole timeout. As "happy eyeballs" does (RFC 8305), with its order of delay.
 */
import type { Clock } from "./clock";

/**
 * Milliseconds before the next address is tried beside the ones under way. Raise it on networks whose round trips are
 * longer, where members would be asked twice for nothing; lower it to lose less time to a dead address.
 */
export const STAGGER_MS = 250;

interface Staggered<T> {
  readonly clock: Clock;
  readonly delayMs: number;
  /** Whether a result ends the race. */
  readonly isGood: (result: T) => boolean;
  /** Whether the next one starts at once when a result is not good, before the delay is over. */
  readonly nextOnBad: boolean;
}

/**
 * Runs `starts` in order. Resolves with the results so far: the last one is good, or none is. A rejection of one ends the
 * race with it. The signal given to each start is aborted when the race is over.
 */
export async function stagger<T>(
  starts: readonly ((signal: AbortSignal) => Promise<T>)[],
  { clock, delayMs, isGood, nextOnBad }: Staggered<T>,
): Promise<T[]> {
  const over = new AbortController();
  const results: T[] = [];
  let wake = new AbortController();
  let open = 0;
  const race = new Promise<void>((resolve, reject) => {
    const begin = async (): Promise<void> => {
      for (const [i, start] of starts.entries()) {
        if (over.signal.aborted) return;
        open++;
        start(over.signal).then(
          (result) => {
            open--;
            results.push(result);
            if (isGood(result) || results.length === starts.length) resolve();
            else if (nextOnBad || open === 0) wake.abort();
          },
          (error: unknown) => {
            reject(error instanceof Error ? error : new Error(String(error)));
          },
        );
        if (i === starts.length - 1) return;
        wake = new AbortController();
        await clock.sleep(delayMs, wake.signal);
      }
    };
    begin().catch(reject);
  });
  try {
    await race;
    const good = results.findIndex(isGood);
    return good < 0 ? results : results.slice(0, good + 1);
  } finally {
    over.abort();
    wake.abort();
  }
}
