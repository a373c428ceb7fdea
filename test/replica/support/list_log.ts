/** A log that keeps its lines. */
import type { Log, LogFields } from "../../../src/base/log";

export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly text: string;
  readonly fields: LogFields;
}

export class ListLog implements Log {
  readonly lines: LogLine[] = [];

  debug(fields: LogFields, text: string): void {
    this.lines.push({ level: "debug", text, fields });
  }
  info(fields: LogFields, text: string): void {
    this.lines.push({ level: "info", text, fields });
  }
  warn(fields: LogFields, text: string): void {
    this.lines.push({ level: "warn", text, fields });
  }
  error(fields: LogFields, text: string): void {
    this.lines.push({ level: "error", text, fields });
  }

  /** "level text" of each line above debug. */
  get texts(): string[] {
    return this.lines.filter(({ level }) => level !== "debug").map(({ level, text }) => `${level} ${text}`);
  }
}
