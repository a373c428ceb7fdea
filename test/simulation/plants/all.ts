/** Every planted bug. */
import type { Plant } from "./plant";

export const PLANTS: readonly Plant[] = [];
