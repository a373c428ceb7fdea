/** Planted bugs: transfers of leadership that callers ask for. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const TRANSFERS = "cluster/transfers.ts";

export const OPERATOR_PLANTS: readonly Plant[] = [
  plant(
    "transfer-answered-when-begun",
    "a transfer is answered when it is begun, not when the target leads",
    TRANSFERS,
    "    await this.whileLeading(target);\n    return this.successor(target);",
    "    return target;",
  ),
  plant(
    "transfer-answered-at-step-down",
    "a transfer is answered when the old leader steps down, before the target is elected",
    TRANSFERS,
    "    return this.successor(target);",
    "    return target;",
  ),
];
