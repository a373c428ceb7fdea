/**
 * Durations of the contract: as milliseconds, as proto3 JSON, and as people write them.
 */
import type { Duration } from "../generated/google/protobuf/duration";
import { UsageError } from "./io";

/** In milliseconds. */
const UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];

export function milliseconds({ seconds, nanos }: Duration): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}

/** Seconds with 0, 3, 6 or 9 digits and an "s". @see the proto3 JSON mapping of google.protobuf.Duration */
export function durationJson(duration: Duration): string {
  const negative = duration.seconds < 0n || duration.nanos < 0;
  const seconds = duration.seconds < 0n ? -duration.seconds : duration.seconds;
  const nanos = String(Math.abs(duration.nanos)).padStart(9, "0");
  const fraction = nanos === "000000000" ? "" : `.${nanos.replace(/(000){1,2}$/, "")}`;
  return `${negative ? "-" : ""}${String(seconds)}${fraction}s`;
}

/** "90s", "1h30m", "0". @throws UsageError when the text is no such time */
export function parseDuration(text: string): Duration {
  const parts = [...text.matchAll(/(\d{1,12})(ms|[smhd])/g)];
  const complete = parts.map(([part]) => part).join("") === text && text !== "";
  if (!complete && text !== "0")
    throw new UsageError(`bad value "${text}": want a time such as 30s, 10m, 1h30m, or 0`);
  let ms = 0;
  for (const [, digits, unit] of parts)
    ms += Number(digits) * (UNITS.find(([name]) => name === unit)?.[1] ?? 0);
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 };
}

/** The shortest text that parseDuration reads as this time. */
export function durationText(duration: Duration | undefined): string {
  let ms = duration === undefined ? 0 : Math.round(milliseconds(duration));
  let text = "";
  for (const [unit, size] of UNITS) {
    const count = Math.floor(ms / size);
    if (count > 0) text += `${String(count)}${unit}`;
    ms -= count * size;
  }
  return text === "" ? "0" : text;
}
