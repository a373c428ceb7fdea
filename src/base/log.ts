/** The interface by which every layer logs. The server passes its pino logger; tests pass a list or `silentLog`. */

/** Structured fields of a log line; ids as bigint. */
export type LogFields = Readonly<Record<string, string | number | bigint | boolean>>;

export interface Log {
  debug(fields: LogFields, text: string): void;
  info(fields: LogFields, text: string): void;
  warn(fields: LogFields, text: string): void;
  error(fields: LogFields, text: string, error?: Error): void;
}

/** Discards every line. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
