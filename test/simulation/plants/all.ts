/** Every planted bug: bugs that other implementations had, and at least one for every invariant. */
import { CLIENT_PLANTS } from "./clients";
import { ELECTION_PLANTS } from "./elections";
import { MEMBERSHIP_PLANTS } from "./membership";
import type { Plant } from "./plant";
import { READ_PLANTS } from "./reads";
import { REPLICATION_PLANTS } from "./replication";
import { STORAGE_PLANTS } from "./storage";

export const PLANTS: readonly Plant[] = [
  ...ELECTION_PLANTS,
  ...REPLICATION_PLANTS,
  ...MEMBERSHIP_PLANTS,
  ...READ_PLANTS,
  ...STORAGE_PLANTS,
  ...CLIENT_PLANTS,
];
