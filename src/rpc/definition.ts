/**
 * Services as values that any wire can carry: the name of each method, the codecs of its messages, and its handler.
 * ts-proto's generated grpc-js definitions have this shape.
 */
import type { Call } from "../base/call";

/** One method of a service. */
export interface MethodDefinition<Req, Res> {
  /** As in HTTP/2's `:path`: "/muster.v1.MembershipService/AddMember". */
  readonly path: string;
  /** Whether the caller sends a stream of requests. */
  readonly requestStream: boolean;
  /** Whether the handler sends a stream of responses. */
  readonly responseStream: boolean;
  requestSerialize(value: Req): Buffer;
  /** @throws Error when the bytes are not a message of this type */
  requestDeserialize(bytes: Buffer): Req;
  responseSerialize(value: Res): Buffer;
  responseDeserialize(bytes: Buffer): Res;
}

/** A request whose bytes are not a message of its type. */
export class Garbage {
  constructor(
    /** The decoder's error. */
    readonly problem: string,
  ) {}
}

/** A request as the server hands it on: decoded, or Garbage. */
export type Incoming<T> = T | Garbage;

/** A handler's answer: a message, or the bytes of an encoded one. */
export type Answer<Res> = Res | Buffer;

/** Answers one call. May throw anything: the server turns it into a status with its ErrorTranslator. */
export type UnaryHandler<Req, Res> = (request: Req, call: Call) => Promise<Answer<Res>>;

/**
 * Where a handler of a streamed response writes its messages. It uses write() for an answer that is to arrive soon, or
 * push() for one that may take for ever, but not both.
 */
export interface ResponseSink<Res> {
  /**
   * Writes one message and settles when the next may be written. Await each write before the next one.
   *
   * @throws CallCancelledError when the caller went away; RpcError when the caller took nothing for too long; after
   *   fail(), the error given to it
   */
  write(message: Res): Promise<void>;
  /**
   * Writes one message, and calls `taken` when the connection has taken it: the caller has room for the next one. There is
   * no limit to how long that takes, so a caller that stopped reading holds one message, and the stream stays open. `taken`
   * gets an error, or is never called, when the call is over. Push the next message after it.
   */
  push(message: Answer<Res>, taken: (error?: Error | null) => void): void;
  /** Ends the write that waits, and every later one, with `error`. Only the first error counts. */
  fail(error: Error): void;
}

/** Answers one call with a stream. The stream ends when the promise settles, with a status if it was rejected. */
export type StreamHandler<Req, Res> = (request: Req, call: Call, sink: ResponseSink<Res>) => Promise<void>;

/** The handler that fits a method. Only members stream requests to each other, and transport/ handles those. */
type HandlerOf<M> =
  M extends MethodDefinition<infer Req, infer Res>
    ? M["responseStream"] extends true
      ? StreamHandler<Req, Res>
      : UnaryHandler<Req, Res>
    : never;

/** The methods of a service, by the property names of the generated definition. */
export type ServiceDefinition = Readonly<
  Record<string, Pick<MethodDefinition<unknown, unknown>, "path" | "requestStream" | "responseStream">>
>;

/** One handler for each method of the service. */
export type Handlers<S> = { readonly [Name in keyof S]: HandlerOf<S[Name]> };

/** A listener that serves services on one wire. */
export interface RpcServer {
  /** Adds a service. Call it before listen(). */
  add<S extends ServiceDefinition>(service: S, handlers: Handlers<S>): void;
  /** Opens the listener at `url` (scheme://host:port). @throws ListenError */
  listen(url: string): Promise<void>;
  /** Takes no more calls, lets open ones end for a short while, then ends them. Never rejects. */
  close(): Promise<void>;
}

/** The listener can't be opened. The message names the URL and the operating system's error. */
export class ListenError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ListenError";
  }
}

/** `decode` as a deserializer that never throws. */
export function decodeOrGarbage<T>(decode: (bytes: Buffer) => T): (bytes: Buffer) => Incoming<T> {
  return (bytes) => {
    try {
      return decode(bytes);
    } catch (error) {
      return new Garbage(error instanceof Error ? error.message : String(error));
    }
  };
}

/** `encode` as a serializer that passes encoded messages unchanged, so that one encoded answer serves many callers. */
export function encodeOrPass<T>(encode: (value: T) => Buffer): (value: T | Buffer) => Buffer {
  return (value) => (Buffer.isBuffer(value) ? value : encode(value));
}

/** The method's name in the proto file: the last part of its path. */
export function methodName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
