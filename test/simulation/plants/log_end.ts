/** Planted bugs: what a start does with the end of the log. */
import { plant } from "./plant";
import type { Plant } from "./plant";

export const LOG_END_PLANTS: readonly Plant[] = [
  plant(
    "tail-not-written-again",
    "a start syncs the end of the log without writing it again",
    "storage/tail.ts",
    "file.write(unproven, unprovenAt, done);",
    "file.write(new Uint8Array(), unprovenAt, done);",
  ),
  plant(
    "descriptor-shortage-final",
    "no file descriptor left for a segment or a snapshot counts as a failure of the log",
    "storage/patient_fs.ts",
    "if (error === null || !isNoDescriptor(error)) {",
    "if (error === null || error.code !== undefined) {",
  ),
];
