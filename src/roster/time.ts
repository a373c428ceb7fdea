/** Times of commands as other formats express them. Pure. */
import type { Duration } from "../generated/google/protobuf/duration";
import type { Timestamp } from "../generated/google/protobuf/timestamp";

/** The latest time that RFC 3339 can express (9999-12-31T23:59:59.999Z), in milliseconds since 1970. */
const RFC3339_TIME_MAX_MS = 253_402_300_799_999;

/** Milliseconds since 1970 in RFC 3339; a later time than it can express becomes its last one. */
export function formatTime(timeMs: number): string {
  return new Date(Math.min(timeMs, RFC3339_TIME_MAX_MS)).toISOString();
}

/** Milliseconds since 1970 as a message, bounded in the same way. */
export function toTimestamp(timeMs: number): Timestamp {
  const ms = Math.min(timeMs, RFC3339_TIME_MAX_MS);
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 };
}

/** Whole milliseconds, not negative, as a message. */
export function toDuration(ms: number): Duration {
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 };
}
