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
  /**
   * The invariant that this bug is to break, where others may break first: a run that breaks it is looked for, so that
   * the record has one for each invariant. @default any
   */
  readonly breaks?: string;
}

/** A plant with a single edit. */
export function plant(
  name: string,
  bug: string,
  file: string,
  find: string,
  replace: string,
  breaks?: string,
): Plant {
  const edits = [{ file, find, replace }];
  return breaks === undefined ? { name, bug, edits } : { name, bug, edits, breaks };
}
