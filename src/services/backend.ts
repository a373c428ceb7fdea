/** The parts of a running member that every service uses, and the refusal while there are none. */
import type { CommandSource } from "../cluster/publish";
import type { Reads } from "../cluster/reads";
import type { Transfers } from "../cluster/transfers";
import type { Watches } from "../cluster/watch/watches";
import type { Writes } from "../cluster/writes";
import type { ReplicaView } from "../replica/view";
import { refused } from "../roster/index";
import type { RefusedError } from "../roster/index";

/** The cluster layer of a member that has joined. */
export interface Backend {
  readonly replica: ReplicaView;
  readonly writes: Writes;
  readonly reads: Reads;
  readonly transfers: Transfers;
  readonly watches: Pick<Watches, "watch">;
  /** Which data directories are known. @default nothing is told of them */
  readonly instances?: KnownInstances;
}

/** The data directories of members, by their instance ids. */
interface KnownInstances {
  /** This member's own. */
  readonly own: Uint8Array;
  /** Whether another directory of that member is known than this one. Empty: any counts. */
  metAnother(memberId: bigint, instanceId: Uint8Array): boolean;
}

export interface ServiceOptions extends CommandSource {
  /** Null while this member starts or waits to join. */
  readonly backend: () => Backend | null;
}

/** The backend. @throws RefusedError SERVER_STOPPING without one */
export function serving({ backend }: ServiceOptions): Backend {
  const found = backend();
  if (found === null) throw notServing();
  return found;
}

/** The refusal of a call to a member that does not serve. */
export function notServing(): RefusedError {
  return refused(
    "SERVER_STOPPING",
    "this member does not serve now: it waits to join, or is stopping; ask another",
  );
}
