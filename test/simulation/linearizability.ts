/**
 * A linearizability checker: is there an order of the operations that respects real time and in which the object, run
 * one operation at a time, could have given these answers?
 *
 * The search of Wing and Gong (1993) with the memoization of Lowe (2017), as in porcupine: an operation may be taken next
 * if it began before the end of every operation that is not taken yet; a set of taken operations, with the state that it
 * leads to, is tried once. An operation of unknown outcome has no end: it may be taken at any time after its begin, or
 * never.
 */

export interface Operation<Input, Output> {
  readonly input: Input;
  /** Null when the outcome is unknown. */
  readonly output: Output | null;
  /** Position in the common order of all begins and ends. No two positions are equal. */
  readonly begin: number;
  /** Position of the end; Infinity when the outcome is unknown. */
  readonly end: number;
  /** Whether the answer shows that the operation changes no state: a read, or a refusal. */
  readonly isPure: boolean;
  /** Position among the changes, when the answer contains it (a revision). Such changes are taken in this order only. */
  readonly order?: number | undefined;
}

/** The sequential specification of an object. Pure. */
export interface Model<State, Input, Output> {
  readonly initial: State;
  /**
   * The state after the operation; null when an object in this state would not give this output. A null output allows
   * every answer.
   */
  readonly step: (state: State, input: Input, output: Output | null) => { readonly state: State } | null;
  /** A key that is equal for equal states. */
  readonly key: (state: State) => string;
}

export type Verdict = "linearizable" | "not linearizable" | "undecided";

interface Mark<Input, Output> {
  readonly operation: Operation<Input, Output>;
  readonly number: number;
  readonly isBegin: boolean;
  /** For a begin, the mark of its end. */
  match: Mark<Input, Output> | null;
  before: Mark<Input, Output> | null;
  after: Mark<Input, Output> | null;
}

/** An operation of unknown outcome. */
interface Loose<Input, Output> {
  readonly operation: Operation<Input, Output>;
  readonly number: number;
  /** An earlier operation with the same input. Until that one is taken, taking this one instead changes nothing. */
  readonly twin: Loose<Input, Output> | null;
}

interface Taken<State, Input, Output> {
  readonly state: State;
  /** The taken operation of known outcome; null for one of unknown outcome. */
  readonly mark: Mark<Input, Output> | null;
  /** Position in the list of operations of unknown outcome. */
  readonly place: number;
  readonly number: number;
  /** Whether the operation changed no state, so that no other choice could have been better. */
  readonly isForced: boolean;
}

export const STEPS_MAX = 5_000_000;

export function checkLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  stepsMax: number = STEPS_MAX,
): Verdict {
  return new Search(model, operations).run(stepsMax);
}

/**
 * Operations of known outcome are in a list of begins and ends. Those of unknown outcome are kept apart, because none of
 * them has to be taken: they are taken only where they change the state, after every known one was tried.
 */
class Search<State, Input, Output> {
  private readonly head: Mark<Input, Output>;
  private readonly loose: readonly Loose<Input, Output>[];
  private readonly taken: TakenSet;
  private readonly seen = new Set<string>();
  private readonly stack: Taken<State, Input, Output>[] = [];
  private readonly ordered: readonly { readonly order: number; readonly number: number }[];
  /** Every ordered operation before this position is taken. */
  private firstOrdered = 0;
  private state: State;

  constructor(
    private readonly model: Model<State, Input, Output>,
    operations: readonly Operation<Input, Output>[],
  ) {
    const known = operations.filter(({ end }) => end !== Infinity);
    this.head = listOf(known);
    this.loose = looseOf(
      operations.filter(({ end }) => end === Infinity),
      known.length,
    );
    this.taken = new TakenSet(operations.length);
    this.ordered = known
      .flatMap(({ order }, number) => (order === undefined ? [] : [{ order, number }]))
      .sort((a, b) => a.order - b.order);
    this.state = model.initial;
  }

  run(stepsMax: number): Verdict {
    let at: Mark<Input, Output> | null = null;
    let place = 0;
    let isFresh = true;
    for (let steps = 0; this.head.after !== null; steps++) {
      if (steps > stepsMax) return "undecided";
      let isStuck = false;
      if (isFresh) {
        isStuck = !this.takeForced();
        at = this.head.after;
        place = 0;
        isFresh = false;
        if (at === null) break;
      }
      if (!isStuck) {
        if (at?.isBegin === true) {
          isFresh = this.takeKnown(at) === "taken";
          if (!isFresh) at = at.after;
          continue;
        }
        // The next operation must have begun before the first end of those that are not taken.
        isFresh = this.takeLoose(place, at?.operation.end ?? Infinity);
        if (isFresh) continue;
      }
      const last = this.takeBack();
      if (last === null) return "not linearizable";
      if (last.mark !== null) {
        unlift(last.mark);
        at = last.mark.after;
        place = 0;
      } else {
        at = this.firstEnd();
        place = last.place + 1;
      }
    }
    return "linearizable";
  }

  /**
   * Takes every operation that is valid now and changes no state: no order is better than one that takes it first. False
   * when the resulting configuration was tried before.
   */
  private takeForced(): boolean {
    let at = this.head.after;
    while (at?.isBegin === true) {
      const after: Mark<Input, Output> | null = at.after;
      if (!at.operation.isPure) {
        at = after;
        continue;
      }
      // A read that adds to the known state is not forced: it is a choice like any other.
      const outcome = this.takeKnown(at, true);
      if (outcome === "stuck") return false;
      // Without this end in the list, later operations may be allowed too. Those passed before were not valid in this state.
      const isEndGone = outcome === "taken" && after?.operation === at.operation;
      at = isEndGone ? this.head.after : after;
    }
    return true;
  }

  /** Undoes operations back to the last one that was a choice, and returns it. */
  private takeBack(): Taken<State, Input, Output> | null {
    for (;;) {
      const last = this.stack.pop();
      if (last === undefined) return null;
      this.state = last.state;
      this.taken.remove(last.number);
      this.firstOrdered = 0;
      if (!last.isForced) return last;
      if (last.mark !== null) unlift(last.mark);
    }
  }

  /** "stuck": the operation is valid and changes no state, so no other choice is better, but its result was tried before. */
  private takeKnown(mark: Mark<Input, Output>, onlyForced = false): "taken" | "not" | "stuck" {
    const { operation, number } = mark;
    const { model, state } = this;
    if (operation.order !== undefined && operation.order > this.nextOrder()) return "not";
    const next = model.step(state, operation.input, operation.output);
    if (next === null) return "not";
    const isForced = operation.isPure && model.key(next.state) === model.key(state);
    if (onlyForced && !isForced) return "not";
    if (!this.isNew(number, next.state)) return isForced ? "stuck" : "not";
    this.stack.push({ state, mark, place: 0, number, isForced });
    this.state = next.state;
    lift(mark);
    return "taken";
  }

  private nextOrder(): number {
    for (let at = this.firstOrdered; at < this.ordered.length; at++) {
      const { order, number } = this.ordered[at] as { order: number; number: number }; // at < length
      if (this.taken.has(number)) continue;
      this.firstOrdered = at;
      return order;
    }
    return Infinity;
  }

  private takeLoose(from: number, bound: number): boolean {
    for (let place = from; place < this.loose.length; place++) {
      const { operation, number, twin } = this.loose[place] as Loose<Input, Output>; // place < length
      if (operation.begin > bound) return false;
      if (this.taken.has(number) || (twin !== null && !this.taken.has(twin.number))) continue;
      const next = this.model.step(this.state, operation.input, null);
      if (next === null || this.model.key(next.state) === this.model.key(this.state)) continue;
      if (!this.isNew(number, next.state)) continue;
      this.stack.push({ state: this.state, mark: null, place, number, isForced: false });
      this.state = next.state;
      return true;
    }
    return false;
  }

  /** Marks the operation as taken, unless the resulting configuration was tried before. */
  private isNew(number: number, state: State): boolean {
    this.taken.add(number);
    const memory = `${this.taken.key()}|${this.model.key(state)}`;
    if (this.seen.has(memory)) {
      this.taken.remove(number);
      return false;
    }
    this.seen.add(memory);
    return true;
  }

  private firstEnd(): Mark<Input, Output> | null {
    let at = this.head.after;
    while (at?.isBegin === true) at = at.after;
    return at;
  }
}

function looseOf<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  firstNumber: number,
): Loose<Input, Output>[] {
  const twins = new Map<string, Loose<Input, Output>>();
  const ordered = [...operations].sort((a, b) => a.begin - b.begin);
  return ordered.map((operation, i) => {
    const same = JSON.stringify(operation.input);
    const loose = { operation, number: firstNumber + i, twin: twins.get(same) ?? null };
    twins.set(same, loose);
    return loose;
  });
}

/** The linked list of begins and ends in order, after a head. */
function listOf<Input, Output>(operations: readonly Operation<Input, Output>[]): Mark<Input, Output> {
  const marks: { readonly time: number; readonly mark: Mark<Input, Output> }[] = [];
  operations.forEach((operation, number) => {
    const end = { operation, number, isBegin: false, match: null, before: null, after: null };
    const begin = { operation, number, isBegin: true, match: end, before: null, after: null };
    marks.push({ time: operation.begin, mark: begin }, { time: operation.end, mark: end });
  });
  marks.sort((a, b) => (a.time === b.time ? a.mark.number - b.mark.number : a.time - b.time));
  const nobody: Operation<Input, Output> = {
    input: null as never,
    output: null,
    begin: -1,
    end: -1,
    isPure: false,
  };
  const head: Mark<Input, Output> = {
    operation: nobody,
    number: -1,
    isBegin: false,
    match: null,
    before: null,
    after: null,
  };
  let last = head;
  for (const { mark } of marks) {
    last.after = mark;
    mark.before = last;
    last = mark;
  }
  return head;
}

function unlink<Input, Output>(mark: Mark<Input, Output>): void {
  if (mark.before !== null) mark.before.after = mark.after;
  if (mark.after !== null) mark.after.before = mark.before;
}

function link<Input, Output>(mark: Mark<Input, Output>): void {
  if (mark.before !== null) mark.before.after = mark;
  if (mark.after !== null) mark.after.before = mark;
}

/** Removes an operation from the list. */
function lift<Input, Output>(begin: Mark<Input, Output>): void {
  unlink(begin);
  if (begin.match !== null) unlink(begin.match);
}

/** Puts an operation back. Called in reverse order of lift, so that its neighbours are again those at its removal. */
function unlift<Input, Output>(begin: Mark<Input, Output>): void {
  if (begin.match !== null) link(begin.match);
  link(begin);
}

/** The set of taken operations. */
class TakenSet {
  private readonly words: Uint32Array;

  constructor(size: number) {
    this.words = new Uint32Array(Math.ceil(size / 32) || 1);
  }

  add(number: number): void {
    this.words[number >> 5] = (this.words[number >> 5] ?? 0) | (1 << (number & 31));
  }

  has(number: number): boolean {
    return ((this.words[number >> 5] ?? 0) & (1 << (number & 31))) !== 0;
  }

  remove(number: number): void {
    this.words[number >> 5] = (this.words[number >> 5] ?? 0) & ~(1 << (number & 31));
  }

  /** Leading words that are full are only counted, because in a long history most of them are. */
  key(): string {
    const { words } = this;
    let full = 0;
    while (words[full] === 0xffff_ffff) full++;
    let end = words.length;
    while (end > full && words[end - 1] === 0) end--;
    let key = String(full);
    for (let i = full; i < end; i++) key += `,${(words[i] ?? 0).toString(36)}`;
    return key;
  }
}
