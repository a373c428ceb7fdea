/**
 * Assertions of the core's invariants. On in production: a broken invariant means that going on could lose an
 * acknowledged entry, so the core stops instead. Input of users and peers is checked and refused before it gets here.
 */

/** An invariant of the core does not hold: a defect of the core or of the storage under it, never bad input. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** @throws InvariantError unless `condition` holds */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
