/**
 * Looks for a shorter run with the same failure: turns off one kind of fault after another, as long as one of the next
 * seeds still breaks the same invariant, and prefers the run that fails at the earliest event.
 */
import { FAULTS } from "./profile";
import type { Fault } from "./profile";
import type { SimOptions } from "./options";
import { simulate } from "./run";

/** Seeds that are tried without each kind of fault, because turning one off changes the runs of all seeds. */
const SEEDS_EACH = 40;

interface Found {
  readonly seed: number;
  readonly event: number;
}

export async function shrink(options: SimOptions): Promise<number> {
  const first = await simulate({
    seed: options.firstSeed,
    events: options.events,
    without: new Set(options.without),
  });
  if (first.failure === null) {
    console.log(`seed ${options.firstSeed} does not fail`);
    return 2;
  }
  const { invariant } = first.failure;
  let best: Found = { seed: options.firstSeed, event: first.failure.event };
  const without = new Set<Fault>(options.without);
  console.log(`seed ${best.seed} breaks ${invariant} at event ${best.event}`);
  for (const fault of FAULTS) {
    if (without.has(fault)) continue;
    without.add(fault);
    const found = await search(best.seed, options.events, without, invariant);
    if (found === null) without.delete(fault);
    else {
      best = found;
      console.log(`without ${fault}: seed ${best.seed}, event ${best.event}`);
    }
  }
  const left = without.size > 0 ? ` --without ${[...without].join(",")}` : "";
  console.log(
    `shortest: npm run sim -- --seeds ${best.seed}..${best.seed} --events ${best.event}${left} --trace`,
  );
  return 0;
}

/** The earliest failure of the same invariant among the seeds that follow. */
async function search(
  seed: number,
  events: number,
  without: ReadonlySet<Fault>,
  invariant: string,
): Promise<Found | null> {
  let best: Found | null = null;
  for (let i = 0; i < SEEDS_EACH; i++) {
    const { failure } = await simulate({ seed: seed + i, events, without });
    if (failure?.invariant !== invariant || (best !== null && failure.event >= best.event)) continue;
    best = { seed: seed + i, event: failure.event };
  }
  return best;
}
