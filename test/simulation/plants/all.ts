/** Every planted bug. Sources: the list of bugs that others had, and what each invariant is there for. */
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
