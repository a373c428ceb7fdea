/**
 * Virtual time: events in a queue, run one at a time in order of time, and of scheduling where times are equal.
 *
 * Time is counted in whole microseconds since the start of the run. There is no other time in a run.
 */

/** The owner of an event. Events of an owner that is not alive are dropped; those of a paused owner wait. */
export interface Owner {
  readonly alive: boolean;
  /** Virtual time until which the owner is paused. */
  readonly pausedUntilUs: number;
  /** The owner's name in the trace. */
  readonly label: string;
  /** Number of the host, or -1: mixed into the trace hash. */
  readonly number: number;
}

/** The kind of an event; part of the trace and of its hash. */
export type EventKind =
  | "timer"
  | "turn"
  | "disk"
  | "deliver"
  | "report"
  | "request"
  | "reply"
  | "client"
  | "churn"
  | "fault"
  | "heal"
  | "lifecycle";

const KIND_NUMBERS: Readonly<Record<EventKind, number>> = {
  timer: 1,
  turn: 2,
  disk: 3,
  deliver: 4,
  report: 5,
  request: 6,
  reply: 7,
  client: 8,
  churn: 9,
  fault: 10,
  heal: 11,
  lifecycle: 12,
};

export interface SimEvent {
  timeUs: number;
  readonly sequence: number;
  readonly kind: EventKind;
  readonly owner: Owner;
  /** Null once cancelled. */
  run: (() => void) | null;
  /** Details for the trace; formatted only when a failure is reported. */
  readonly detail: unknown;
}

export function kindNumber(kind: EventKind): number {
  return KIND_NUMBERS[kind];
}

export class Scheduler {
  nowUs = 0;
  private readonly heap: SimEvent[] = [];
  private nextSequence = 0;

  after(delayUs: number, kind: EventKind, owner: Owner, run: () => void, detail: unknown = null): SimEvent {
    const timeUs = this.nowUs + Math.max(0, Math.round(delayUs));
    const event = { timeUs, sequence: this.nextSequence++, kind, owner, run, detail };
    this.push(event);
    return event;
  }

  /** Advances time to the next event and returns it; null when no event is left. */
  next(): SimEvent | null {
    for (;;) {
      const event = this.pop();
      if (event === null) return null;
      if (event.run === null || !event.owner.alive) continue;
      if (event.owner.pausedUntilUs > event.timeUs) {
        event.timeUs = event.owner.pausedUntilUs;
        this.push(event);
        continue;
      }
      this.nowUs = event.timeUs;
      return event;
    }
  }

  private push(event: SimEvent): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up] as SimEvent; // up < at <= length
      if (!isBefore(event, parent)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = event;
  }

  private pop(): SimEvent | null {
    const { heap } = this;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined) return null;
    const size = heap.length;
    if (size === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      let smaller = heap[child] as SimEvent; // child < size
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, smaller)) {
        child++;
        smaller = right;
      }
      if (!isBefore(smaller, last)) break;
      heap[at] = smaller;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.timeUs < b.timeUs || (a.timeUs === b.timeUs && a.sequence < b.sequence);
}
