/**
 * The receiving end of InstallSnapshot.
 *
 * Invariants: nothing is kept before the handshake is accepted. Memory is bounded by the announced length, which is
 * bounded by sizeBytesMax. A snapshot is handed on only when all its bytes came and its CRC-32 is right. A call that
 * ends early or stands still keeps no memory and no timer.
 */
import { crc32 } from "node:zlib";
import type { ServerReadableStream } from "@grpc/grpc-js";
import type {
  Handshake,
  InstallSnapshotRequest,
  InstallSnapshotResponse,
} from "../generated/muster/raft/v1/raft_service";
import type { Message as WireMessage } from "../generated/muster/raft/v1/raft";
import { EMPTY_BYTES } from "../raft/index";
import type { Message, NodeId } from "../raft/index";
import type { Clock, Timer } from "../base/clock";
import { RpcError, StatusCode } from "../rpc/rpc_error";
import { decodeSnapshotMessage } from "./codec";
import { invalidRequest, refuseHandshake } from "./handshake";
import type { HandshakeCheck } from "./handshake";
import { Garbage } from "../rpc/definition";
import type { Incoming } from "../rpc/definition";

/** The server's side of an InstallSnapshot call. */
export type SnapshotCall = ServerReadableStream<Incoming<InstallSnapshotRequest>, InstallSnapshotResponse>;

interface SnapshotLimits {
  /** This member's id. A snapshot for another id is refused. */
  readonly memberId: NodeId;
  /** Measures how long a call stands still. */
  readonly clock: Clock;
  /** Whether this sender may talk to this member. */
  readonly check: HandshakeCheck;
  /**
   * Longest data accepted, in bytes. Raise it for state machines whose state is larger; a snapshot is received into
   * memory, so that a lower limit protects a small machine.
   *
   * @default 256 MiB
   */
  readonly sizeBytesMax?: number;
  /**
   * How long a call may stand still before it is refused, in milliseconds; also the time for its handshake. Raise it
   * for slow links; a sender that stopped holds its memory for this long.
   *
   * @default 30000, as the sending end
   */
  readonly idleTimeoutMs?: number;
}

/** A whole snapshot. `message.snapshot` has the data. */
interface ReceivedSnapshot {
  readonly handshake: Handshake;
  readonly message: Message;
}

const SIZE_BYTES_MAX = 256 * 1024 * 1024;
const IDLE_TIMEOUT_MS = 30_000;

/**
 * Reads one snapshot from `call`. The caller of this function answers the call.
 *
 * @throws RpcError and nothing else
 */
export function receiveSnapshot(call: SnapshotCall, limits: SnapshotLimits): Promise<ReceivedSnapshot> {
  return new Promise((resolve, reject) => {
    const assembly = new Assembly(limits);
    let timer: Timer | null = null;
    let over = false;
    const settle = (result: ReceivedSnapshot | RpcError): void => {
      if (over) return;
      over = true;
      timer?.cancel();
      if (!(result instanceof RpcError)) {
        resolve(result);
      } else {
        // HTTP/2 flow control then stops the sender until the answer ends the call.
        call.pause();
        assembly.discard();
        reject(result);
      }
    };
    const restartTimer = (): void => {
      const idleTimeoutMs = limits.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
      timer?.cancel();
      timer = limits.clock.setTimeout(() => {
        settle(invalidRequest(`snapshot stands still for ${idleTimeoutMs} ms`));
      }, idleTimeoutMs);
    };
    restartTimer();
    call.on("data", (request: Incoming<InstallSnapshotRequest>) => {
      if (over) return;
      restartTimer();
      const refusal = assembly.add(request);
      if (refusal !== null) settle(refusal);
    });
    call.on("end", () => {
      settle(assembly.finish());
    });
    const vanished = (): void => {
      settle(new RpcError(StatusCode.CANCELLED, "the sender went away", null));
    };
    call.on("cancelled", vanished);
    call.on("error", vanished);
    if (call.cancelled) vanished();
  });
}

/** The part of a snapshot that has arrived. */
class Assembly {
  private handshake: Handshake | null = null;
  private wire: WireMessage | null = null;
  private data = Buffer.alloc(0);
  private length = 0;
  private crc = 0;
  private complete = false;

  constructor(private readonly limits: SnapshotLimits) {}

  /** Takes one request. Returns why the call is refused, or null. */
  add(request: Incoming<InstallSnapshotRequest>): RpcError | null {
    if (request instanceof Garbage) return invalidRequest(`the request does not decode: ${request.problem}`);
    if (this.complete) return invalidRequest("data after the end of the snapshot");
    if (this.handshake === null) {
      const refusal = this.begin(request);
      if (refusal !== null) return refusal;
    } else if (request.handshake !== undefined || request.message !== undefined) {
      return invalidRequest("a second handshake");
    }
    const { chunk } = request;
    if (chunk.length > this.data.length - this.length) {
      return invalidRequest("the snapshot is longer than announced");
    }
    chunk.copy(this.data, this.length);
    this.length += chunk.length;
    this.crc = crc32(chunk, this.crc);
    return request.crc32 === undefined ? null : this.end(request.crc32);
  }

  finish(): ReceivedSnapshot | RpcError {
    if (this.handshake === null || this.wire === null || !this.complete) {
      return invalidRequest(`the snapshot ended after ${this.length} of ${this.data.length} bytes`);
    }
    const decoded = decodeSnapshotMessage(this.wire, this.data);
    if (!decoded.ok) return invalidRequest(decoded.problem);
    return { handshake: this.handshake, message: decoded.message };
  }

  discard(): void {
    this.data = Buffer.alloc(0);
    this.wire = null;
  }

  private begin({ handshake, message, sizeBytes }: InstallSnapshotRequest): RpcError | null {
    const refusal = refuseHandshake(handshake, this.limits.memberId, this.limits.check);
    if (refusal !== null) return refusal;
    if (handshake === undefined || message === undefined)
      return invalidRequest("no message in the first request");
    if (message.from !== handshake.memberId) return invalidRequest("the message is not from the sender");
    if (message.to !== this.limits.memberId) return invalidRequest("the message is for another member");
    // Everything but the data is checked before memory is allocated.
    const decoded = decodeSnapshotMessage(message, EMPTY_BYTES);
    if (!decoded.ok) return invalidRequest(decoded.problem);
    const sizeBytesMax = this.limits.sizeBytesMax ?? SIZE_BYTES_MAX;
    if (sizeBytes > sizeBytesMax) {
      const sizes = { size_bytes: String(sizeBytes), size_bytes_max: String(sizeBytesMax) };
      return invalidRequest(
        `a snapshot of ${sizes.size_bytes} bytes is longer than ${sizes.size_bytes_max}`,
        sizes,
      );
    }
    // Not filled: the system gives memory only to the pages that are written, so an announced length costs nothing yet.
    this.data = Buffer.allocUnsafeSlow(sizeBytes);
    this.handshake = handshake;
    this.wire = message;
    return null;
  }

  private end(crc: number): RpcError | null {
    if (this.length !== this.data.length) {
      return invalidRequest(`the snapshot ended after ${this.length} of ${this.data.length} bytes`);
    }
    if (crc !== this.crc) return invalidRequest("the snapshot's checksum does not fit");
    this.complete = true;
    return null;
  }
}
