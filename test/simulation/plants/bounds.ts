/** Planted bugs: bounds on calls that wait. */
import { plant } from "./plant";
import type { Plant } from "./plant";

export const BOUNDS_PLANTS: readonly Plant[] = [
  plant(
    "waiting-call-not-counted-down",
    "a call that is over still counts among those that wait, until all are refused",
    "cluster/waiting_room.ts",
    "    this.count--;",
    "    this.count -= 0;",
  ),
];
