/**
 * MaintenanceService: what an operator does with one member as it runs.
 *
 * SaveSnapshot is a linearizable read: a quorum confirms a ReadIndex, then the state machine is copied as it stands, in
 * one turn, and sent in chunks. A copy is as large as the roster, so few are sent at once; a caller that stops reading
 * is not waited for.
 */
import { createHash } from "node:crypto";
import type { ServerWritableStream, UntypedHandleCall } from "@grpc/grpc-js";
import { MaintenanceServiceService } from "../generated/muster/v1/maintenance_service";
import type { SaveSnapshotRequest, SaveSnapshotResponse } from "../generated/muster/v1/maintenance_service";
import { Garbage, tolerant } from "../transport/service_definition";
import type { Incoming } from "../transport/service_definition";
import { CallCancelledError } from "./call";
import { refused } from "./errors";
import { callContext, statusOf } from "./interceptors/unary";
import type { ServerCallContext, UnaryOptions } from "./interceptors/unary";
import type { LinearizableReads } from "./linearizable_reads";
import { header } from "./membership_service";
import type { Node } from "./node";
import { encodeSavedSnapshot } from "./saved_snapshot";
import { VERSION } from "../base/version";

const { saveSnapshot } = MaintenanceServiceService;

/** The generated definition, with requests that do not decode as values. */
export const maintenanceServiceDefinition = {
  saveSnapshot: { ...saveSnapshot, requestDeserialize: tolerant(saveSnapshot.requestDeserialize) },
} as const;

/** Fits maintenanceServiceDefinition. */
export type MaintenanceHandlers = {
  [Name in keyof typeof maintenanceServiceDefinition]: UntypedHandleCall;
};

export interface MaintenanceBackend {
  readonly node: Node;
  readonly reads: LinearizableReads;
}

export interface MaintenanceServiceOptions {
  /** Null while this member waits to join. */
  readonly backend: () => MaintenanceBackend | null;
  readonly unary: UnaryOptions;
  /** How long a caller may take no chunk, in milliseconds. @default 30000: as for a snapshot between members */
  readonly stallMs?: number;
}

/** Small enough for every client's default limit of a message. */
export const CHUNK_BYTES = 256 * 1024;
/** Copies of the state that are sent at once. */
const SAVES_AT_ONCE_MAX = 2;
const RETRY_DELAY_MS = 1000;
const STALL_MS = 30_000;

type SaveCall = ServerWritableStream<Incoming<SaveSnapshotRequest>, SaveSnapshotResponse>;

export class MaintenanceServiceHost {
  readonly handlers: MaintenanceHandlers;
  /** Ends each stream that is being sent. */
  private readonly open = new Set<(error: Error) => void>();
  private stopping = false;

  constructor(private readonly options: MaintenanceServiceOptions) {
    this.handlers = {
      saveSnapshot: (call: SaveCall) => {
        this.handle(call);
      },
    };
  }

  /** Ends what is being sent, and refuses what comes. */
  stop(): void {
    this.stopping = true;
    for (const end of [...this.open]) end(stopping());
  }

  private handle(call: SaveCall): void {
    const { unary } = this.options;
    const context = callContext("SaveSnapshot", call, unary);
    this.save(call, context).then(
      () => {
        context.finish();
        call.end();
      },
      (error: unknown) => {
        context.finish();
        call.emit("error", statusOf(error, context, unary));
      },
    );
  }

  private async save(call: SaveCall, context: ServerCallContext): Promise<void> {
    if (call.request instanceof Garbage) {
      throw refused(
        "INVALID_REQUEST",
        "the request's bytes do not decode; generate the client from the current proto files",
      );
    }
    const backend = this.options.backend();
    if (backend === null || this.stopping) throw stopping();
    if (this.open.size >= SAVES_AT_ONCE_MAX) {
      const text = `${String(SAVES_AT_ONCE_MAX)} snapshots are being sent already; try again later`;
      throw refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS);
    }
    const stream = new Outgoing(call, context, this.options.unary.clock, this.options.stallMs ?? STALL_MS);
    const end = (error: Error): void => {
      stream.fail(error);
    };
    this.open.add(end);
    try {
      await backend.reads.confirm(context);
      context.onCancel(() => {
        stream.fail(new CallCancelledError());
      });
      await this.send(stream, backend.node);
    } finally {
      stream.close();
      this.open.delete(end);
    }
  }

  private async send(stream: Outgoing, node: Node): Promise<void> {
    // No await from here to the header: state, configuration and header are of one moment.
    const snapshot = node.capture();
    const { index, term } = snapshot.meta;
    const file = encodeSavedSnapshot({
      clusterId: node.clusterId,
      memberId: node.id,
      timeMs: this.options.unary.wallNow(),
      version: VERSION,
      snapshot,
    });
    const value = {
      header: header(node, node.roster.revision),
      index: BigInt(index),
      term: BigInt(term),
      sizeBytes: BigInt(file.length),
      memberCount: node.roster.members().length,
    };
    await stream.write({ part: { $case: "header", value } });
    for (let at = 0; at < file.length; at += CHUNK_BYTES) {
      await stream.write({ part: { $case: "chunk", value: file.subarray(at, at + CHUNK_BYTES) } });
    }
    const sha256 = createHash("sha256").update(file).digest();
    await stream.write({ part: { $case: "trailer", value: { sha256 } } });
    this.options.unary.log.info({ index, term, size_bytes: file.length }, "sent a snapshot to be saved");
  }
}

/** Writes at the caller's pace. */
class Outgoing {
  private failure: Error | null = null;
  private wake: (() => void) | null = null;
  private readonly drained = (): void => {
    this.wake?.();
  };

  constructor(
    private readonly call: SaveCall,
    private readonly context: ServerCallContext,
    private readonly clock: UnaryOptions["clock"],
    private readonly stallMs: number,
  ) {
    call.on("drain", this.drained);
  }

  /** The write that waits, and those after it, end with this. */
  fail(error: Error): void {
    this.failure ??= error;
    this.wake?.();
  }

  close(): void {
    this.call.off("drain", this.drained);
  }

  /** Settles when more may be written. */
  async write(message: SaveSnapshotResponse): Promise<void> {
    this.check();
    if (this.call.write(message)) return;
    await new Promise<void>((resolve) => {
      const timer = this.clock.setTimeout(() => {
        const text = `the caller took nothing for ${String(this.stallMs)} ms; the snapshot was not sent whole`;
        this.fail(refused("NOT_PROPOSED", text));
      }, this.stallMs);
      this.wake = (): void => {
        timer.cancel();
        this.wake = null;
        resolve();
      };
    });
    this.check();
  }

  private check(): void {
    if (this.failure !== null) throw this.failure;
    if (this.context.cancelled) throw new CallCancelledError();
  }
}

function stopping(): Error {
  return refused(
    "SERVER_STOPPING",
    "this member does not serve now: it waits to join, or is stopping; ask another",
  );
}
