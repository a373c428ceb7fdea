/**
 * A listener of the simulated wire: a table of the methods of the real services. Requests and answers are bytes and take
 * the same path as on the real wire.
 */
import type { Call } from "../../src/base/call";
import { decodeOrGarbage, encodeOrPass } from "../../src/rpc/definition";
import type { Handlers, MethodDefinition, ServiceDefinition, UnaryHandler } from "../../src/rpc/definition";
import { answerUnary } from "../../src/rpc/unary";
import type { ErrorTranslator } from "../../src/rpc/unary";
import type { AdminListener, PeerListener } from "../../src/server/wire";
import type { StreamGate } from "../../src/transport/stream_gate";

type Serve = (body: Buffer, call: Call) => Promise<Buffer>;

export class SimListener implements PeerListener, AdminListener {
  isOpen = false;
  /** The process whose batch was accepted last, by member: that of the member's stream. */
  readonly senders = new Map<bigint, unknown>();
  readonly health = { set: (): void => undefined };
  private readonly methods = new Map<string, Serve>();

  /** @param gate decides which streams to accept; a listener for clients has none */
  constructor(
    private readonly translate: ErrorTranslator,
    readonly gate: () => StreamGate | null = () => null,
  ) {}

  add<S extends ServiceDefinition>(service: S, handlers: Handlers<S>): void {
    for (const [name, given] of Object.entries(service)) {
      if (given.requestStream || given.responseStream) continue;
      // Handlers<S> is typed per method; a loop over all methods can't express their types.
      const method = given as MethodDefinition<unknown, unknown>;
      const handler = (handlers as Readonly<Record<string, unknown>>)[name] as UnaryHandler<unknown, unknown>;
      const decode = decodeOrGarbage((bytes: Buffer) => method.requestDeserialize(bytes));
      const encode = encodeOrPass((value: unknown) => method.responseSerialize(value));
      this.methods.set(method.path, async (body, call) =>
        encode(await answerUnary(handler, decode(body), call, this.translate)),
      );
    }
  }

  async listen(): Promise<void> {
    this.isOpen = true;
  }

  async close(): Promise<void> {
    this.isOpen = false;
  }

  endExpelled(): void {
    // Nothing to end: there are no streams, and every batch is checked when it arrives.
  }

  /** The streams of a process that ended are closed. */
  senderEnded(process: unknown): void {
    for (const [id, sender] of this.senders) {
      if (sender !== process) continue;
      this.senders.delete(id);
      this.gate()?.closed?.(id);
    }
  }

  endStreams(): void {
    // There are no streams to end.
  }

  /** @throws RpcError */
  serve(path: string, body: Buffer, call: Call): Promise<Buffer> {
    const serve = this.methods.get(path);
    if (serve === undefined) throw new Error(`no method ${path} is served`);
    return serve(body, call);
  }
}
