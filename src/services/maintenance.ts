/**
 * MaintenanceService: operations on one running member.
 *
 * SaveSnapshot is a linearizable read: a quorum confirms a ReadIndex, then the state machines are copied within one
 * turn of the event loop and sent in chunks. A copy is as large as the state, so only a few are sent at once, and a
 * caller that stops reading loses its call (rpc/paced_sink.ts).
 */
import type { Call } from "../base/call";
import type { Log } from "../base/log";
import { sha256 } from "../base/random";
import { VERSION } from "../base/version";
import { encodeSavedSnapshot } from "../backup/saved_snapshot";
import { MaintenanceServiceService } from "../generated/muster/v1/maintenance_service";
import type { SaveSnapshotResponse } from "../generated/muster/v1/maintenance_service";
import type { ReplicaView } from "../replica/view";
import { refused } from "../roster/index";
import type { Handlers, ResponseSink } from "../rpc/definition";
import { notServing, responseHeader, serving } from "./backend";
import type { ServiceOptions } from "./backend";

/** The public contract's service, for the listener. */
export const maintenanceService = MaintenanceServiceService;

interface MaintenanceServiceOptions extends ServiceOptions {
  /** Gets a line for each snapshot that was sent whole. */
  readonly log: Log;
}

/** Bytes of the file in one message, as the contract says. Well below every client's default limit of a message. */
export const CHUNK_BYTES = 256 * 1024;
/** Most snapshots sent at the same time: each one is a copy of the state in memory. */
const SAVES_AT_ONCE_MAX = 2;
/** When a caller that was refused should try again, in milliseconds. */
const RETRY_DELAY_MS = 1000;

export class MaintenanceService {
  readonly handlers: Handlers<typeof MaintenanceServiceService> = {
    saveSnapshot: (_request, call, sink) => this.saveSnapshot(call, sink),
  };
  /** The calls that are not over, from before their read is confirmed. */
  private readonly open = new Set<ResponseSink<SaveSnapshotResponse>>();
  private stopping = false;

  constructor(private readonly options: MaintenanceServiceOptions) {}

  /** Ends the open calls and refuses new ones, with SERVER_STOPPING. */
  stop(): void {
    this.stopping = true;
    for (const sink of [...this.open]) sink.fail(notServing());
  }

  private async saveSnapshot(call: Call, sink: ResponseSink<SaveSnapshotResponse>): Promise<void> {
    const { replica, reads } = serving(this.options);
    if (this.stopping) throw notServing();
    if (this.open.size >= SAVES_AT_ONCE_MAX) {
      const text = `${String(SAVES_AT_ONCE_MAX)} snapshots are being sent already; try again later`;
      throw refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS);
    }
    this.open.add(sink);
    try {
      await reads.confirm(call);
      await this.send(sink, replica);
    } finally {
      this.open.delete(sink);
    }
  }

  private async send(sink: ResponseSink<SaveSnapshotResponse>, replica: ReplicaView): Promise<void> {
    // No await before the header is made: the state, the configuration and the header belong to the same log index.
    const snapshot = replica.capture();
    const { index, term } = snapshot.meta;
    const file = encodeSavedSnapshot({
      clusterId: replica.clusterId,
      memberId: replica.id,
      timeMs: this.options.wallNow(),
      version: VERSION,
      snapshot,
    });
    const value = {
      header: responseHeader(replica, replica.roster.revision),
      index: BigInt(index),
      term: BigInt(term),
      sizeBytes: BigInt(file.length),
      memberCount: replica.roster.members().length,
    };
    await sink.write({ part: { $case: "header", value } });
    for (let at = 0; at < file.length; at += CHUNK_BYTES) {
      await sink.write({ part: { $case: "chunk", value: file.subarray(at, at + CHUNK_BYTES) } });
    }
    await sink.write({ part: { $case: "trailer", value: { sha256: Buffer.from(sha256(file)) } } });
    this.options.log.info({ index, term, size_bytes: file.length }, "sent a snapshot to be saved");
  }
}
