/** The member's logger: pino, JSON by default, readable text on a terminal. Ids are logged as hex digits. */
import { pino } from "pino";
import type { Logger as Pino } from "pino";
import pretty from "pino-pretty";
import type { Log, LogFields } from "../base/log";
import { formatId } from "../roster/index";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** The default logger. Writes to standard error, because standard output is for the output of commands. */
export function createLogger(name: string, level: LogLevel): Log {
  const base = { name: "muster", member_name: name };
  const stream = process.stderr.isTTY
    ? pretty({ destination: 2, sync: true, ignore: "pid,hostname,name" })
    : pino.destination({ dest: 2, sync: true });
  return fromPino(pino({ level, base, timestamp: pino.stdTimeFunctions.isoTime }, stream));
}

function fromPino(sink: Pino): Log {
  return {
    debug: (fields, text) => {
      if (sink.isLevelEnabled("debug")) sink.debug(plain(fields), text);
    },
    info: (fields, text) => {
      sink.info(plain(fields), text);
    },
    warn: (fields, text) => {
      sink.warn(plain(fields), text);
    },
    error: (fields, text, err) => {
      sink.error({ ...plain(fields), ...(err === undefined ? {} : { err }) }, text);
    },
  };
}

/** The keys that every line has. */
const OWN_KEYS: ReadonlySet<string> = new Set(["level", "time", "name", "member_name", "msg"]);

function plain(fields: LogFields): Record<string, string | number | boolean> {
  const out: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(fields)) {
    // A key of pino's own would stand twice in the line, and a reader keeps either of the two.
    const own = OWN_KEYS.has(key) ? `field_${key}` : key;
    out[own] = typeof value === "bigint" ? formatId(value) : value;
  }
  return out;
}
