/**
 * The trace of a run: a hash over all events (equal seeds must give equal hashes), and the last events for the report of
 * a failure. Events are formatted only when they are printed.
 */
import { MessageType } from "../../src/raft/index";
import type { Message } from "../../src/raft/index";
import { kindNumber } from "./scheduler";
import type { SimEvent } from "./scheduler";

/** How many events a report shows. */
const KEPT = 60;

interface Line {
  readonly number: number;
  readonly timeUs: number;
  readonly text: () => string;
}

export class Trace {
  private low = 0x811c_9dc5;
  private high = 0x01b3_4f2d;
  private readonly lines: Line[] = [];
  private at = 0;
  /** Called with every line as text; set while a failure is replayed. */
  print: ((text: string) => void) | null = null;

  mix(value: number): void {
    this.low = Math.imul(this.low ^ value, 0x0100_0193);
    this.high = Math.imul(this.high ^ (this.low >>> 13) ^ value, 0x85eb_ca6b) ^ (this.low >>> 7);
  }

  event(event: SimEvent, number: number): void {
    this.mix(kindNumber(event.kind));
    this.mix(event.timeUs);
    this.mix(event.owner.number);
    const { kind, owner, detail } = event;
    this.line(number, event.timeUs, () => `${kind} ${owner.label} ${describe(detail)}`.trimEnd());
  }

  note(number: number, timeUs: number, text: string): void {
    this.line(number, timeUs, () => text);
  }

  /** The hash as 16 hex digits. */
  hash(): string {
    return [this.high, this.low].map((part) => (part >>> 0).toString(16).padStart(8, "0")).join("");
  }

  last(): string[] {
    const ordered = [...this.lines.slice(this.at), ...this.lines.slice(0, this.at)];
    return ordered.map(format);
  }

  private line(number: number, timeUs: number, text: () => string): void {
    const line = { number, timeUs, text };
    if (this.lines.length < KEPT) this.lines.push(line);
    else this.lines[this.at] = line;
    this.at = this.lines.length < KEPT ? 0 : (this.at + 1) % KEPT;
    this.print?.(format(line));
  }
}

function format({ number, timeUs, text }: Line): string {
  return `${String(number).padStart(6)} ${(timeUs / 1000).toFixed(3).padStart(12)} ms  ${text()}`;
}

function describe(detail: unknown): string {
  if (detail === null || detail === undefined) return "";
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return (detail as readonly Message[]).map(describeMessage).join(", ");
  return JSON.stringify(detail, (_, value: unknown) =>
    typeof value === "bigint" ? value.toString(16) : value,
  );
}

export function describeMessage(m: Message): string {
  const parts = [MessageType[m.type], shortId(m.from), "->", shortId(m.to), `term ${m.term}`];
  if (m.index > 0 || m.logTerm > 0) parts.push(`at ${m.logTerm}/${m.index}`);
  if (m.entries.length > 0) {
    parts.push(
      `entries ${m.entries.map((e) => `${e.term}/${e.index}${e.confChange === null ? "" : "c"}`).join(" ")}`,
    );
  }
  if (m.commit > 0) parts.push(`commit ${m.commit}`);
  if (m.snapshot !== null) parts.push(`snapshot ${m.snapshot.meta.term}/${m.snapshot.meta.index}`);
  if (m.reject) parts.push(`reject ${m.rejectHint}`);
  if (m.context !== 0n) parts.push(`context ${m.context.toString(16)}`);
  if (m.forced) parts.push("forced");
  return parts.join(" ");
}

export function shortId(id: bigint): string {
  return id.toString(16).slice(0, 4);
}
