/**
 * The receiving end of MaintenanceService.SaveSnapshot: a header, chunks, a trailer, in this order.
 *
 * Invariant: it succeeds only when the stream had all three and as many bytes as the header announced. The bytes are
 * not looked into: they are a file (docs/formats/snapshot-file.md).
 */
import { status } from "@grpc/grpc-js";
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import type { SaveSnapshotHeader, SaveSnapshotResponse } from "../generated/muster/v1/maintenance_service";
import { fromServiceError, MusterError } from "./errors";

/** Takes a snapshot's bytes. What it throws ends the call, and is what the caller gets. */
export interface SnapshotSink {
  /** A file begins: whatever was written before is void. */
  begin(header: SaveSnapshotHeader): Promise<void> | void;
  /** Its next bytes. The next chunk comes when the promise has resolved. */
  write(chunk: Uint8Array): Promise<void> | void;
}

/** A snapshot that has arrived whole. */
export interface ReceivedSnapshot {
  readonly header: SaveSnapshotHeader;
  /** As the member computed it over the file, 32 bytes. */
  readonly sha256: Uint8Array;
}

type SnapshotStream = ClientReadableStream<SaveSnapshotResponse>;

/**
 * @param endpoint whom errors name
 * @throws MusterError, or what the sink throws
 */
export async function receiveSnapshot(
  call: SnapshotStream,
  sink: SnapshotSink,
  endpoint: string,
  signal: AbortSignal | undefined,
): Promise<ReceivedSnapshot> {
  const abort = (): void => {
    call.cancel();
  };
  // Once the loop below is left nobody else listens, and an error nobody listens for would end the process.
  call.on("error", () => undefined);
  if (signal?.aborted === true) abort();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const assembly = new Assembly(sink, endpoint);
    for await (const message of call) await assembly.add(message as SaveSnapshotResponse);
    return assembly.finish();
  } catch (error) {
    throw isServiceError(error) ? fromServiceError(error, endpoint, undefined) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
    call.cancel();
  }
}

/**
 * Runs a call whose sink may fail, and tells the two kinds of failure apart: the call's own error says nothing of a
 * full disk here.
 */
export async function ownErrors<T>(
  sink: SnapshotSink,
  run: (guarded: SnapshotSink) => Promise<T>,
): Promise<T> {
  let own: { readonly error: unknown } | null = null;
  const guard = async (work: () => Promise<void> | void): Promise<void> => {
    try {
      await work();
    } catch (error) {
      own = { error };
      throw error;
    }
  };
  try {
    return await run({
      begin: (header) => guard(() => sink.begin(header)),
      write: (chunk) => guard(() => sink.write(chunk)),
    });
  } catch (error) {
    throw ownError(own, error);
  }
}

function ownError(own: { readonly error: unknown } | null, error: unknown): unknown {
  return own === null ? error : own.error;
}

/** The snapshot as far as it came. */
class Assembly {
  private header: SaveSnapshotHeader | null = null;
  private sha256: Uint8Array | null = null;
  private sizeBytes = 0n;

  constructor(
    private readonly sink: SnapshotSink,
    private readonly endpoint: string,
  ) {}

  async add({ part }: SaveSnapshotResponse): Promise<void> {
    if (this.sha256 !== null) throw this.broken("something follows its end");
    switch (part?.$case) {
      case "header":
        if (this.header !== null) throw this.broken("it begins twice");
        this.header = part.value;
        await this.sink.begin(part.value);
        return;
      case "chunk":
        if (this.header === null) throw this.broken("it has no beginning");
        this.sizeBytes += BigInt(part.value.length);
        await this.sink.write(part.value);
        return;
      case "trailer":
        this.sha256 = part.value.sha256;
        return;
      case undefined:
        throw this.broken("it has a part that this client does not know");
    }
  }

  finish(): ReceivedSnapshot {
    const { header, sha256 } = this;
    if (header === null || sha256 === null || this.sizeBytes !== header.sizeBytes) {
      const wanted = header === null ? "" : ` of ${String(header.sizeBytes)}`;
      throw this.broken(`it ended after ${String(this.sizeBytes)}${wanted} bytes`);
    }
    return { header, sha256 };
  }

  private broken(what: string): MusterError {
    const { endpoint } = this;
    const message = `${endpoint} sent a snapshot that is not whole: ${what}`;
    return new MusterError({ code: status.DATA_LOSS, message, endpoint });
  }
}

function isServiceError(error: unknown): error is ServiceError {
  if (!(error instanceof Error) || error instanceof MusterError) return false;
  return "code" in error && typeof error.code === "number" && "metadata" in error;
}
