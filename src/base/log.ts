/** Where the transport tells what it does. The server's logger fits; tests pass a list or nothing. */

/** Values that describe an event; ids as bigint. */
export type LogFields = Readonly<Record<string, string | number | bigint | boolean>>;

export interface TransportLog {
  debug(fields: LogFields, text: string): void;
  info(fields: LogFields, text: string): void;
  warn(fields: LogFields, text: string): void;
}

/** Drops everything. */
export const silentLog: TransportLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
};
