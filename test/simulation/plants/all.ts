/** Every planted bug: bugs that other implementations had, and at least one for every invariant. */
import { BOUNDS_PLANTS } from "./bounds";
import { CLIENT_PLANTS } from "./clients";
import { ELECTION_PLANTS } from "./elections";
import { LOG_END_PLANTS } from "./log_end";
import { IDENTITY_PLANTS } from "./identity";
import { MEMBERSHIP_PLANTS } from "./membership";
import { OPERATOR_PLANTS } from "./operator";
import { PEER_PLANTS } from "./peers";
import type { Plant } from "./plant";
import { READ_PLANTS } from "./reads";
import { REPLICATION_PLANTS } from "./replication";
import { REQUEST_MEMORY_PLANTS } from "./request-memory";
import { STEWARD_PLANTS } from "./steward";
import { STORAGE_PLANTS } from "./storage";
import { STRICT_CHECK_PLANTS } from "./strict-check";
import { WATCH_PLANTS } from "./watches";

export const PLANTS: readonly Plant[] = [
  ...ELECTION_PLANTS,
  ...REPLICATION_PLANTS,
  ...MEMBERSHIP_PLANTS,
  ...READ_PLANTS,
  ...STORAGE_PLANTS,
  ...CLIENT_PLANTS,
  ...OPERATOR_PLANTS,
  ...LOG_END_PLANTS,
  ...STRICT_CHECK_PLANTS,
  ...PEER_PLANTS,
  ...REQUEST_MEMORY_PLANTS,
  ...BOUNDS_PLANTS,
  ...IDENTITY_PLANTS,
  ...STEWARD_PLANTS,
  ...WATCH_PLANTS,
];
