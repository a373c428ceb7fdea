/**
 * The receiving end of MaintenanceService.SaveSnapshot: a header, chunks and a trailer, in this order.
 *
 * Invariant: it succeeds only when the stream had all three and as many bytes as the header announced. The bytes are
 * passed on unread: they are a file (docs/formats/snapshot-file.md).
 */
import { status } from "@grpc/grpc-js";
import type { SaveSnapshotHeader, SaveSnapshotResponse } from "../generated/muster/v1/maintenance_service";
import { MusterError } from "./errors";

/** Takes a snapshot's bytes. An error that it throws ends the call, and the call rejects with that error. */
export interface SnapshotSink {
  /** A file begins. Called again when a further attempt starts over: everything written before is void. */
  begin(header: SaveSnapshotHeader): Promise<void> | void;
  /** The next bytes of the file. The chunk after them comes when the promise has resolved. */
  write(chunk: Uint8Array): Promise<void> | void;
}

/** A snapshot that was received completely. */
export interface ReceivedSnapshot {
  readonly header: SaveSnapshotHeader;
  /** The SHA-256 of the file as the member computed it, 32 bytes. */
  readonly sha256: Uint8Array;
}

/**
 * Passes the messages of one attempt on to the sink.
 *
 * @param endpoint the address that errors name, as host:port
 * @throws MusterError, or an error of the sink
 */
export async function receiveSnapshot(
  messages: AsyncIterable<SaveSnapshotResponse>,
  sink: SnapshotSink,
  endpoint: string,
): Promise<ReceivedSnapshot> {
  const assembly = new Assembly(sink, endpoint);
  for await (const message of messages) await assembly.add(message);
  return assembly.finish();
}

/**
 * Runs a call with a sink. When the sink failed, rejects with the sink's own error, in place of the MusterError that
 * the call made of it: a full disk on this machine is no failure of a member.
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

/** The part of a snapshot that has been received so far. */
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
