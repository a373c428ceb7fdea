/**
 * A planted bug: a change to the sources as they are loaded into the simulation, which shows that the checks would find
 * such a bug. The files in src/ are not changed.
 */
export interface Edit {
  /** Path in src/. */
  readonly file: string;
  /** The text to replace, which must occur in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Plant {
  readonly name: string;
  /** Description of the bug in one line. */
  readonly bug: string;
  readonly edits: readonly Edit[];
}

/** A plant with a single edit. */
export function plant(name: string, bug: string, file: string, find: string, replace: string): Plant {
  return { name, bug, edits: [{ file, find, replace }] };
}
