/**
 * One gRPC listener (grpc-js). Services are added as values (definition.ts); handlers see no type of the library.
 *
 * Invariant: every call is answered exactly once, with the handler's answer or with a status that carries details.
 */
import { Server, ServerCredentials, logVerbosity, setLogVerbosity, status } from "@grpc/grpc-js";
import type {
  Metadata,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition as GrpcServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { addressOf } from "../base/address";
import { OpenCall } from "../base/call";
import type { Clock } from "../base/clock";
import { Deadline } from "../base/deadline";
import type { Log } from "../base/log";
import { openFilesMax } from "../base/open_files";
import { Garbage, ListenError, decodeOrGarbage, encodeOrPass, methodName } from "./definition";
import type {
  Answer,
  Handlers,
  Incoming,
  MethodDefinition,
  RpcServer,
  ServiceDefinition,
  StreamHandler,
  UnaryHandler,
} from "./definition";
import { toGrpcStatus } from "./grpc_status";
import { explainLibraryErrors } from "./library_errors";
import { limitConnections, openServers } from "./connections";
import { DEFAULT_LISTENER_LIMITS, connectionsWithin } from "./listener_limits";
import type { ListenerLimits } from "./listener_limits";
import { RpcError } from "./rpc_error";
import { PacedSink } from "./paced_sink";
import { answerUnary, notDecodable } from "./unary";
import type { ErrorTranslator } from "./unary";

// The errors that the library gives say what went wrong; its own lines on standard error are not JSON and say less.
setLogVerbosity(logVerbosity.NONE);

/** The status of a call whose caller has gone: the library has to be answered, but sends nothing. */
const NOBODY = { code: status.CANCELLED, details: "the caller cancelled the call" };
/** How long open calls may go on while the listener closes, in milliseconds. */
const DRAIN_MS = 500;
/** How long close() waits for the library, in milliseconds. What is open then ends with the process. */
const CLOSE_MS_MAX = 1500;

interface GrpcServerOptions {
  /** Measures deadlines and stalls. */
  readonly clock: Clock;
  /** Milliseconds since 1970: grpc-js gives deadlines on this scale. */
  readonly wallNow: () => number;
  /** This member's election timeout, in milliseconds. A call without a deadline gets 5 s and two of these. */
  readonly electionMs: number;
  /** Gets a line for each request that does not decode. Other refusals are logged by `translate`. */
  readonly log: Log;
  /** Turns what a handler threw into a status. */
  readonly translate: ErrorTranslator;
  /**
   * Largest request, in bytes. The library refuses a larger one with RESOURCE_EXHAUSTED. Raise it when a correct caller
   * sends larger requests; every call may take up this much memory before its handler runs.
   */
  readonly maxMessageBytes: number;
  /**
   * How long the caller of a streamed response may take no message before the call ends, in milliseconds. Raise it for
   * callers that pause while they read; until it has passed, a caller that stopped reading holds its response in
   * memory.
   */
  readonly stallMs: number;
  /** Connections, and calls on them. @default DEFAULT_LISTENER_LIMITS */
  readonly limits?: Partial<ListenerLimits>;
}

/** The part of the library's call that an OpenCall is made of. */
type LibraryCall = Pick<ServerUnaryCall<unknown, unknown>, "on" | "metadata" | "getDeadline">;

export class GrpcServer implements RpcServer {
  /** The library's server, for services that exist on this wire only: streams between members, health, reflection. */
  readonly native: Server;
  /** What listen() binds: host and port. Empty before. */
  private address = "";

  private readonly limits: ListenerLimits;

  constructor(private readonly options: GrpcServerOptions) {
    this.limits = { ...DEFAULT_LISTENER_LIMITS, ...options.limits };
    this.native = new Server({
      interceptors: [explainLibraryErrors],
      "grpc.max_concurrent_streams": this.limits.callsPerConnectionMax,
      "grpc.max_connection_idle_ms": this.limits.idleMs,
      "grpc.enable_channelz": 0,
      "grpc.max_receive_message_length": options.maxMessageBytes,
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 10_000,
    });
  }

  add<S extends ServiceDefinition>(service: S, handlers: Handlers<S>): void {
    const definition: Record<string, unknown> = {};
    const implementation: UntypedServiceImplementation = {};
    for (const [name, given] of Object.entries(service)) {
      // Handlers<S> has checked that each handler has its method's types; this loop can't name those types.
      const method = given as MethodDefinition<unknown, unknown>;
      if (method.requestStream) throw new Error(`${method.path}: requests that stream are not for handlers`);
      definition[name] = {
        ...method,
        requestDeserialize: decodeOrGarbage((bytes: Buffer) => method.requestDeserialize(bytes)),
        responseSerialize: encodeOrPass((value: unknown) => method.responseSerialize(value)),
      };
      const handler = (handlers as Readonly<Record<string, unknown>>)[name];
      implementation[name] = method.responseStream
        ? this.streaming(method.path, handler as StreamHandler<unknown, unknown>)
        : (this.unary(method.path, handler as UnaryHandler<unknown, unknown>) as UntypedHandleCall);
    }
    this.native.addService(definition as GrpcServiceDefinition, implementation);
  }

  listen(url: string): Promise<void> {
    const address = addressOf(url);
    if (address === null) return Promise.reject(new ListenError(`${url}: not an address to listen at`));
    this.address = `${address.host}:${address.port}`;
    return new Promise((resolve, reject) => {
      this.native.bindAsync(this.address, ServerCredentials.createInsecure(), (error) => {
        if (error === null) {
          const { log } = this.options;
          const max = connectionsWithin(this.limits.connectionsMax, openFilesMax());
          for (const server of openServers(this.native)) limitConnections(server, max, url, log);
          resolve();
        } else reject(new ListenError(`${url}: can't listen there: ${error.message}`));
      });
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.options.clock.setTimeout(resolve, CLOSE_MS_MAX);
      if (this.address !== "") this.native.drain(this.address, DRAIN_MS);
      this.native.tryShutdown(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  private unary(path: string, handler: UnaryHandler<unknown, unknown>) {
    const name = methodName(path);
    return (
      received: ServerUnaryCall<Incoming<unknown>, Answer<unknown>>,
      callback: (error: unknown, answer?: Answer<unknown>) => void,
    ): void => {
      const call = this.open(name, received);
      const { request } = received;
      if (request instanceof Garbage) this.noteGarbage(name, request);
      answerUnary(handler, request, call, this.options.translate).then(
        (answer) => {
          call.finish();
          callback(null, answer);
        },
        (error: unknown) => {
          call.finish();
          callback(call.cancelled ? NOBODY : toGrpcStatus(this.rpcError(error, call)));
        },
      );
    };
  }

  private streaming(path: string, handler: StreamHandler<unknown, unknown>) {
    const name = methodName(path);
    return (received: ServerWritableStream<Incoming<unknown>, unknown>): void => {
      const call = this.open(name, received);
      const fail = (error: unknown): void => {
        call.finish();
        received.emit("error", call.cancelled ? NOBODY : toGrpcStatus(this.rpcError(error, call)));
      };
      const { request } = received;
      if (request instanceof Garbage) {
        this.noteGarbage(name, request);
        fail(notDecodable());
        return;
      }
      const sink = new PacedSink(received, call, this.options.clock, this.options.stallMs);
      // Inside an async function, so that a handler that throws before it returns a promise is answered too.
      const answer = async (): Promise<void> => handler(request, call, sink);
      answer()
        .then(() => {
          call.finish();
          received.end();
        }, fail)
        .finally(() => {
          sink.close();
        });
    };
  }

  private rpcError(error: unknown, call: OpenCall): RpcError {
    return error instanceof RpcError ? error : this.options.translate(error, call);
  }

  private noteGarbage(name: string, { problem }: Garbage): void {
    this.options.log.info({ rpc: name, reason: "INVALID_REQUEST", text: problem }, "refused");
  }

  private open(method: string, received: LibraryCall): OpenCall {
    const { clock, wallNow, electionMs } = this.options;
    const at = received.getDeadline();
    const deadlineMs = typeof at === "number" ? at : at.getTime();
    const remainingMs = Number.isFinite(deadlineMs) ? deadlineMs - wallNow() : null;
    const call = new OpenCall({
      method,
      deadline: Deadline.of(clock, remainingMs, electionMs, this.limits.waitMsMax),
      headers: () => headersOf(received.metadata),
    });
    received.on("cancelled", () => {
      call.cancel();
    });
    return call;
  }
}

/** The values of a repeated header are joined by commas (RFC 9110, section 5.3). Binary headers are left out. */
function headersOf(metadata: Metadata): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  for (const key of Object.keys(metadata.getMap())) {
    const values = metadata.get(key).filter((value) => typeof value === "string");
    if (values.length > 0) headers.set(key, values.join(","));
  }
  return headers;
}
