/**
 * MaintenanceService: operations on one running member.
 *
 * SaveSnapshot is a linearizable read, unless its caller wants what this member has: a quorum confirms a ReadIndex, then
 * the state is copied in slices
 * (replica/captures.ts) and sent in chunks. A copy is as large as the state, so only a few are sent at once, and a
 * caller that stops reading (rpc/paced_sink.ts), or reads for too long, loses its call.
 */
import { CALL_CANCELLED } from "../base/call";
import type { Call } from "../base/call";
import type { Clock } from "../base/clock";
import type { Log } from "../base/log";
import { sha256OfParts } from "../base/random";
import { VERSION } from "../base/version";
import { responseHeader } from "../cluster/response_header";
import { savedSnapshotFile } from "../backup/saved_snapshot";
import { MaintenanceServiceService } from "../generated/muster/v1/maintenance_service";
import type { SaveSnapshotRequest, SaveSnapshotResponse } from "../generated/muster/v1/maintenance_service";
import type { ReplicaView } from "../replica/view";
import type { Snapshot } from "../raft/index";
import { refused } from "../roster/index";
import type { RefusedError } from "../roster/index";
import type { Handlers, ResponseSink } from "../rpc/definition";
import { notServing, serving } from "./backend";
import type { ServiceOptions } from "./backend";

/** The public contract's service, for the listener. */
export const maintenanceService = MaintenanceServiceService;

interface MaintenanceServiceOptions extends ServiceOptions {
  /** Measures how long one snapshot may take. */
  readonly clock: Clock;
  /** Gets a line for each snapshot that was sent whole. */
  readonly log: Log;
}

/** Bytes of the file in one message, as the contract says. Well below every client's default limit of a message. */
export const CHUNK_BYTES = 256 * 1024;
/** Most snapshots sent at the same time: each one is a copy of the state in memory. */
const SAVES_AT_ONCE_MAX = 2;
/**
 * How long one of them may take, in milliseconds, from its confirmation to its last byte. A caller that takes a little now
 * and then never stalls, and would hold its place for ever. 160 MiB take 10 minutes at 270 KiB/s.
 */
export const SAVE_MS_MAX = 10 * 60 * 1000;
/** When a caller that was refused should try again, in milliseconds. */
const RETRY_DELAY_MS = 1000;

export class MaintenanceService {
  readonly handlers: Handlers<typeof MaintenanceServiceService> = {
    saveSnapshot: (request, call, sink) => this.saveSnapshot(request, call, sink),
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

  private async saveSnapshot(
    { serializable }: SaveSnapshotRequest,
    call: Call,
    sink: ResponseSink<SaveSnapshotResponse>,
  ): Promise<void> {
    const { replica, reads } = serving(this.options);
    if (this.stopping) throw notServing();
    if (this.open.size >= SAVES_AT_ONCE_MAX) {
      const text = `${String(SAVES_AT_ONCE_MAX)} snapshots are being sent already; try again later`;
      throw refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS);
    }
    this.open.add(sink);
    const timer = this.options.clock.setTimeout(() => {
      sink.fail(tooSlow());
    }, SAVE_MS_MAX);
    try {
      if (!serializable) await reads.confirm(call);
      await this.send(call, sink, replica);
    } finally {
      timer.cancel();
      this.open.delete(sink);
    }
  }

  private async send(
    call: Call,
    sink: ResponseSink<SaveSnapshotResponse>,
    replica: ReplicaView,
  ): Promise<void> {
    // No await between these: the state, the configuration and the header belong to the same log index.
    const header = responseHeader(replica, replica.roster.revision);
    const memberCount = replica.roster.members().length;
    const captured = capture(replica, call);
    try {
      const snapshot = await captured.snapshot;
      const { index, term } = snapshot.meta;
      const { clusterId, id: memberId } = replica;
      const timeMs = this.options.wallNow();
      const file = savedSnapshotFile({ clusterId, memberId, timeMs, version: VERSION, snapshot });
      const sizes = { index: BigInt(index), term: BigInt(term), sizeBytes: BigInt(file.sizeBytes) };
      await sink.write({ part: { $case: "header", value: { header, memberCount, ...sizes } } });
      const hash = sha256OfParts();
      for (const value of file.parts(CHUNK_BYTES)) {
        hash.update(value);
        await sink.write({ part: { $case: "chunk", value } });
      }
      await sink.write({ part: { $case: "trailer", value: { sha256: hash.digest() } } });
      this.options.log.info({ index, term, size_bytes: file.sizeBytes }, "sent a snapshot to be saved");
    } finally {
      captured.release();
    }
  }
}

/** The state now, shared with other callers of the same index until release(). Rejects when the caller goes away. */
function capture(
  replica: ReplicaView,
  call: Call,
): { readonly snapshot: Promise<Snapshot>; readonly release: () => void } {
  let release = (): void => undefined;
  const snapshot = new Promise<Snapshot>((resolve, reject) => {
    release = replica.capture(resolve);
    call.onCancel(() => {
      reject(CALL_CANCELLED);
    });
  });
  return {
    snapshot,
    release: () => {
      release();
    },
  };
}

function tooSlow(): RefusedError {
  const text = `the answer was not taken whole within ${String(SAVE_MS_MAX / 1000)} s: others wait for its place; use a faster connection`;
  return refused("NOT_PROPOSED", text);
}
