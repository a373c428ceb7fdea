/**
 * A real gRPC server on a free loopback port that answers from a script.
 *
 * Each call takes the next step of the script of its method; the last step repeats. Calls are recorded in order.
 */
import { Metadata, Server, ServerCredentials, status } from "@grpc/grpc-js";
import type { ServerUnaryCall, ServiceError, sendUnaryData } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../../../src/generated/google/rpc/error_details";
import { Status } from "../../../src/generated/google/rpc/status";
import { MembershipServiceService } from "../../../src/generated/muster/v1/membership_service";

export interface RecordedCall {
  readonly rpc: string;
  readonly request: Readonly<Record<string, unknown>>;
}

type Rpc = keyof typeof MembershipServiceService;

/** The answer to one call: a response message, an error, no answer at all, or one computed from the request. */
export type Step =
  | { readonly respond: object }
  | { readonly fail: ServiceError }
  | { readonly hang: true }
  | { readonly decide: (request: Readonly<Record<string, unknown>>) => Step };

export interface Refusal {
  readonly code: status;
  readonly reason?: string;
  readonly message?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly { field: string; description: string }[];
  readonly retryDelay?: { seconds: bigint; nanos: number };
}

/** An error as the service sends it; without a reason it carries no details. */
export function refusal(init: Refusal): ServiceError {
  const message = init.message ?? "refused";
  const metadata = new Metadata();
  if (init.reason !== undefined) metadata.set("grpc-status-details-bin", statusBytes(init, message));
  return Object.assign(new Error(message), { code: init.code, details: message, metadata });
}

function statusBytes(init: Refusal, message: string): Buffer {
  const any = (type: string, bytes: Uint8Array): { typeUrl: string; value: Buffer } => ({
    typeUrl: `type.googleapis.com/google.rpc.${type}`,
    value: Buffer.from(bytes),
  });
  const info = ErrorInfo.create({
    reason: init.reason ?? "",
    domain: "muster.v1",
    metadata: new Map(Object.entries(init.metadata ?? {})),
  });
  const details = [any("ErrorInfo", ErrorInfo.encode(info).finish())];
  if (init.violations !== undefined) {
    const fields = BadRequest.create({ fieldViolations: [...init.violations] });
    details.push(any("BadRequest", BadRequest.encode(fields).finish()));
  }
  if (init.retryDelay !== undefined) {
    details.push(any("RetryInfo", RetryInfo.encode({ retryDelay: init.retryDelay }).finish()));
  }
  return Buffer.from(Status.encode({ code: init.code, message, details }).finish());
}

export class ScriptedServer {
  readonly calls: RecordedCall[] = [];
  private readonly scripts = new Map<string, Step[]>();
  private readonly server = new Server();
  private port = 0;

  static async start(port = 0): Promise<ScriptedServer> {
    const scripted = new ScriptedServer();
    const handler =
      (rpc: Rpc) =>
      (call: ServerUnaryCall<object, object>, callback: sendUnaryData<object>): void => {
        scripted.answer(rpc, call, callback);
      };
    const names = Object.keys(MembershipServiceService) as Rpc[];
    const handlers = Object.fromEntries(names.map((name) => [name, handler(name)]));
    scripted.server.addService(MembershipServiceService, handlers);
    scripted.port = await new Promise<number>((resolve, reject) => {
      scripted.server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    return scripted;
  }

  get endpoint(): string {
    return `127.0.0.1:${this.port}`;
  }

  on(rpc: Rpc, ...steps: Step[]): this {
    this.scripts.set(rpc, steps);
    return this;
  }

  /** The values of one field over the calls of one method, in order. */
  seen(rpc: Rpc, field: string): unknown[] {
    return this.calls.filter((call) => call.rpc === rpc).map((call) => call.request[field]);
  }

  stop(): void {
    this.server.forceShutdown();
  }

  private answer(rpc: Rpc, call: ServerUnaryCall<object, object>, callback: sendUnaryData<object>): void {
    this.calls.push({ rpc, request: { ...call.request } });
    const steps = this.scripts.get(rpc) ?? [];
    let step = steps.length > 1 ? steps.shift() : steps[0];
    while (step !== undefined && "decide" in step) step = step.decide({ ...call.request });
    if (step === undefined)
      callback(refusal({ code: status.UNIMPLEMENTED, message: `no script for ${rpc}` }));
    else if ("fail" in step) callback(step.fail);
    else if ("respond" in step) callback(null, step.respond);
  }
}
