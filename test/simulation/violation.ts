/** An invariant that does not hold: the end of a run. */
export class Violation extends Error {
  override readonly name = "Violation";

  constructor(
    /** The invariant's name: its file's. */
    readonly invariant: string,
    message: string,
  ) {
    super(message);
  }
}
