/**
 * A planted bug: a change of the sources as they are loaded into the simulation, to show that it would be found. Nothing
 * of it is in src/.
 */
export interface Edit {
  /** Path in src/. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Plant {
  readonly name: string;
  /** What is wrong with it, in one line. */
  readonly bug: string;
  readonly edits: readonly Edit[];
}

/** A plant of one edit. */
export function plant(name: string, bug: string, file: string, find: string, replace: string): Plant {
  return { name, bug, edits: [{ file, find, replace }] };
}
