/**
 * Assertions of the core's invariants, on in production: after a broken invariant an acknowledged entry could be lost,
 * so the core stops. Input of users and peers never reaches an assertion; it is checked and refused before.
 */

/** An invariant of the core does not hold. The cause is a defect of the core or of its storage, never bad input. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** @throws InvariantError unless `condition` holds */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
