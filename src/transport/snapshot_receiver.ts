/**
 * The receiving end of InstallSnapshot.
 *
 * Invariants: nothing is kept before the handshake is accepted; memory is bounded by the announced length, which is
 * bounded itself; a snapshot is handed on only when every byte came and the CRC-32 fits. A call that ends early, or
 * stands still, leaves nothing behind.
 */
import { crc32 } from "node:zlib";
import { status } from "@grpc/grpc-js";
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
import { decodeSnapshotMessage } from "./codec";
import { invalidRequest, refuseHandshake } from "./handshake";
import type { HandshakeCheck } from "./handshake";
import { Garbage } from "./service_definition";
import type { Incoming } from "./service_definition";
import type { Refusal } from "./status_details";

/** The server's side of an InstallSnapshot call. */
export type SnapshotCall = ServerReadableStream<Incoming<InstallSnapshotRequest>, InstallSnapshotResponse>;

export interface SnapshotLimits {
  /** This member; a snapshot for another id is refused. */
  readonly memberId: NodeId;
  readonly clock: Clock;
  /** Whether this sender is let in. */
  readonly check: HandshakeCheck;
  /** Longest data that is taken. @default 256 MiB */
  readonly sizeBytesMax?: number;
  /** A call in which nothing arrives for this long is given up; also the time for the handshake. @default 30000 */
  readonly idleTimeoutMs?: number;
}

/** A whole snapshot: `message.snapshot` holds the data. */
export interface ReceivedSnapshot {
  readonly handshake: Handshake;
  readonly message: Message;
}

/** A snapshot was refused, or did not arrive whole; `statusOfRefusal(error.refusal)` is the answer. */
export class SnapshotRefused extends Error {
  constructor(readonly refusal: Refusal) {
    super(refusal.text);
    this.name = "SnapshotRefused";
  }
}

const SIZE_BYTES_MAX = 256 * 1024 * 1024;
const IDLE_TIMEOUT_MS = 30_000;

/**
 * Reads one snapshot from `call`. The caller answers the call, after the core has taken the message or refused it.
 *
 * @throws SnapshotRefused and nothing else
 */
export function receiveSnapshot(call: SnapshotCall, limits: SnapshotLimits): Promise<ReceivedSnapshot> {
  return new Promise((resolve, reject) => {
    const assembly = new Assembly(limits);
    let timer: Timer | null = null;
    let over = false;
    const settle = (result: ReceivedSnapshot | Refusal): void => {
      if (over) return;
      over = true;
      timer?.cancel();
      if ("message" in result) {
        resolve(result);
      } else {
        // What else the sender has to say stays with it: HTTP/2 flow control stops it until the answer ends the call.
        call.pause();
        assembly.discard();
        reject(new SnapshotRefused(result));
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
      settle({
        code: status.CANCELLED,
        reason: "INVALID_REQUEST",
        text: "the sender went away",
        metadata: {},
      });
    };
    call.on("cancelled", vanished);
    call.on("error", vanished);
    if (call.cancelled) vanished();
  });
}

/** The snapshot as far as it came. */
class Assembly {
  #handshake: Handshake | null = null;
  #wire: WireMessage | null = null;
  #data = Buffer.alloc(0);
  #length = 0;
  #crc = 0;
  #complete = false;

  constructor(private readonly limits: SnapshotLimits) {}

  /** Takes one request; the refusal when it does not fit. */
  add(request: Incoming<InstallSnapshotRequest>): Refusal | null {
    if (request instanceof Garbage) return invalidRequest(`the request does not decode: ${request.problem}`);
    if (this.#complete) return invalidRequest("data after the end of the snapshot");
    if (this.#handshake === null) {
      const refusal = this.#begin(request);
      if (refusal !== null) return refusal;
    } else if (request.handshake !== undefined || request.message !== undefined) {
      return invalidRequest("a second handshake");
    }
    const { chunk } = request;
    if (chunk.length > this.#data.length - this.#length) {
      return invalidRequest("the snapshot is longer than announced");
    }
    chunk.copy(this.#data, this.#length);
    this.#length += chunk.length;
    this.#crc = crc32(chunk, this.#crc);
    return request.crc32 === undefined ? null : this.#end(request.crc32);
  }

  finish(): ReceivedSnapshot | Refusal {
    if (this.#handshake === null || this.#wire === null || !this.#complete) {
      return invalidRequest(`the snapshot ended after ${this.#length} of ${this.#data.length} bytes`);
    }
    const decoded = decodeSnapshotMessage(this.#wire, this.#data);
    if (!decoded.ok) return invalidRequest(decoded.problem);
    return { handshake: this.#handshake, message: decoded.message };
  }

  discard(): void {
    this.#data = Buffer.alloc(0);
    this.#wire = null;
  }

  #begin({ handshake, message, sizeBytes }: InstallSnapshotRequest): Refusal | null {
    const refusal = refuseHandshake(handshake, this.limits.memberId, this.limits.check);
    if (refusal !== null) return refusal;
    if (handshake === undefined || message === undefined)
      return invalidRequest("no message in the first request");
    if (message.from !== handshake.memberId) return invalidRequest("the message is not from the sender");
    if (message.to !== this.limits.memberId) return invalidRequest("the message is for another member");
    // Everything but the data is judged now, before memory is spent on it.
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
    // Not touched before it is written: the pages of a sender that announces much and sends little are never real.
    this.#data = Buffer.allocUnsafeSlow(sizeBytes);
    this.#handshake = handshake;
    this.#wire = message;
    return null;
  }

  #end(crc: number): Refusal | null {
    if (this.#length !== this.#data.length) {
      return invalidRequest(`the snapshot ended after ${this.#length} of ${this.#data.length} bytes`);
    }
    if (crc !== this.#crc) return invalidRequest("the snapshot's checksum does not fit");
    this.#complete = true;
    return null;
  }
}
