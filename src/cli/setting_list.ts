/**
 * The settings of a cluster as the command names, reads and prints them.
 */
import type { ClusterSettings, UpdateClusterSettingsInput } from "../client";
import { durationText, parseDuration } from "./durations";
import { UsageError } from "./io";

/** One setting, in the words of the command line. */
interface Setting {
  readonly key: string;
  /** For people. */
  readonly meaning: string;
  /** The value that it has unless it was changed. */
  readonly initial: string;
  readonly read: (settings: ClusterSettings) => string;
  /** @throws UsageError when the text is no value of it */
  readonly write: (text: string) => UpdateClusterSettingsInput;
}

export const SETTINGS: readonly Setting[] = [
  {
    key: "auto-promote",
    meaning: "the leader makes voters of learners that are ready",
    initial: "true",
    read: ({ autoPromote }) => String(autoPromote),
    write: (text) => ({ autoPromote: parseBoolean(text) }),
  },
  {
    key: "standby-takeover-after",
    meaning: "after so long out of contact a voter's place is taken by a standby; 0: never",
    initial: "0",
    read: ({ standbyTakeoverAfter }) => durationText(standbyTakeoverAfter),
    write: (text) => ({ standbyTakeoverAfter: parseDuration(text) }),
  },
  {
    key: "remove-unstarted-after",
    meaning: "after so long without a start an added member is removed; 0: never",
    initial: "0",
    read: ({ removeUnstartedAfter }) => durationText(removeUnstartedAfter),
    write: (text) => ({ removeUnstartedAfter: parseDuration(text) }),
  },
];

/** The settings that are not as in a new cluster: "auto-promote false, remove-unstarted-after 30m". */
export function changedSettings(settings: ClusterSettings | undefined): string {
  if (settings === undefined) return "";
  return SETTINGS.filter(({ initial, read }) => read(settings) !== initial)
    .map(({ key, read }) => `${key} ${read(settings)}`)
    .join(", ");
}

/** What differs: "auto-promote true -> false". */
export function settingsDifference(before: ClusterSettings | undefined, after: ClusterSettings): string {
  return SETTINGS.flatMap(({ key, read }) => {
    const [was, is] = [before === undefined ? "" : read(before), read(after)];
    if (was === is) return [];
    return was === "" ? [`${key} ${is}`] : [`${key} ${was} -> ${is}`];
  }).join(", ");
}

function parseBoolean(text: string): boolean {
  if (text === "true") return true;
  if (text === "false") return false;
  throw new UsageError(`bad value "${text}": want true or false`);
}
