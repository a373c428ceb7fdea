/**
 * A planted bug: a change of the sources as they are loaded into the simulation, to show that it would be found. Nothing
 * of it is in src/.
 */
export interface Plant {
  readonly name: string;
  /** What is wrong with it, in one line; a number is that of the list of known regressions. */
  readonly bug: string;
  /** Path in src/. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}
