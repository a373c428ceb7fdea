/** Unary calls between members in memory: to the member at that URL, or answered by the test. */
import { FORWARD_KEY, OpenCall } from "../../../src/base/call";
import type { Call } from "../../../src/base/call";
import { RETRY, UNKNOWN, done, refusedBy } from "../../../src/base/outcome";
import type { Outcome } from "../../../src/base/outcome";
import type { Cluster } from "../../../src/cluster/assemble";
import { publishWrite } from "../../../src/cluster/publish";
import type { CommandSource } from "../../../src/cluster/publish";
import {
  PublishRequest,
  PublishResponse,
  RaftServiceService,
} from "../../../src/generated/muster/raft/v1/raft_service";
import { RefusedError, decodeCommand } from "../../../src/roster/index";
import { RpcError, refusalError } from "../../../src/rpc/rpc_error";
import type { PeerCalls, PeerRequest } from "../../../src/transport/peer_calls";
import { READ_PATH, WRITE_PATH, writeOf } from "./test_calls";

/** One call as this member made it. */
export interface CarriedCall {
  readonly url: string;
  readonly request: PeerRequest;
  readonly connectMs: number;
}

type Answer = (url: string, request: PeerRequest, call: Call) => Promise<Outcome<Uint8Array>>;

/** The cluster layer at a peer URL; null when nobody answers there. */
type Find = (url: string) => { readonly cluster: Cluster; readonly source: CommandSource } | null;

export class MemoryPeers implements PeerCalls {
  readonly calls: CarriedCall[] = [];
  readonly asked: { readonly url: string; readonly request: PeerRequest; readonly timeoutMs: number }[] = [];
  closed = false;
  /** In place of the member at the URL. */
  answer: Answer | null = null;
  /** What is answered to a question; null: nothing. */
  hello: (url: string) => Promise<Uint8Array | null> = () => Promise.resolve(null);

  constructor(private readonly find: Find) {}

  async call(url: string, request: PeerRequest, call: Call, connectMs: number): Promise<Outcome<Uint8Array>> {
    this.calls.push({ url, request, connectMs });
    if (this.answer !== null) return this.answer(url, request, call);
    const found = this.find(url);
    if (found === null) return RETRY;
    const own = [...call.headers].filter(([key]) => key.startsWith("muster-") && key !== FORWARD_KEY);
    const headers = new Map([[FORWARD_KEY, "never"], ...own]);
    const arrived = new OpenCall({ method: call.method, deadline: call.deadline, headers: () => headers });
    try {
      return done(await serve(found.cluster, found.source, request, arrived));
    } catch (error) {
      return error instanceof RpcError || error instanceof RefusedError
        ? refusedBy(onTheWire(error))
        : UNKNOWN;
    }
  }

  ask(url: string, request: PeerRequest, timeoutMs: number): Promise<Uint8Array | null> {
    this.asked.push({ url, request, timeoutMs });
    return this.hello(url);
  }

  close(): void {
    this.closed = true;
  }
}

function onTheWire(error: RpcError | RefusedError): RpcError {
  if (error instanceof RpcError) return error;
  return refusalError({ ...error.refusal, retryDelayMs: error.retryDelayMs });
}

/** Handles a call as the services do. */
async function serve(
  { writes, reads, replica }: Cluster,
  source: CommandSource,
  { path, body }: PeerRequest,
  call: Call,
): Promise<Uint8Array> {
  switch (path) {
    case RaftServiceService.publish.path: {
      const answer = await writes.execute(publishWrite(PublishRequest.decode(body), source), call);
      return Buffer.isBuffer(answer) ? answer : PublishResponse.encode(answer).finish();
    }
    case WRITE_PATH: {
      const answer = await writes.execute(writeOf(decodeCommand(body)), call);
      return Buffer.isBuffer(answer) ? answer : Buffer.from(String(answer));
    }
    case READ_PATH: {
      const request = (): PeerRequest => ({ path, body });
      const answer = await reads.atLeader(call, request, () => Buffer.from(String(replica.id)));
      return answer;
    }
    default:
      throw new Error(`no such path: ${path}`);
  }
}
