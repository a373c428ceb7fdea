/**
 * A client that knows the first members only and follows the contract: it repeats what fails with the same request_id, and finds
 * the members that come later in the roster. Its writers and readers count what failed; a change of members must cost nothing.
 */
import { randomUUID } from "node:crypto";
import { credentials } from "@grpc/grpc-js";
import type { CallOptions, Metadata, ServiceError } from "@grpc/grpc-js";
import { Metadata as CallMetadata } from "@grpc/grpc-js";
import { MusterClient } from "../../../src/client";
import { decodeDetails } from "../../../src/client/errors";
import {
  MembershipServiceClient,
  ReplaceMemberRequest,
  UpdateClusterSettingsRequest,
} from "../../../src/generated/muster/v1/membership_service";
import type {
  ReplaceMemberResponse,
  UpdateClusterSettingsResponse,
} from "../../../src/generated/muster/v1/membership_service";
import { until } from "./processes";
import type { ProcessCluster } from "./process_cluster";

/** How long a call may take, all its attempts together: longer than any recovery that the tests allow. */
const TIMEOUT_MS = 30_000;

export class SteadyLoad {
  readonly failures: string[] = [];
  done = 0;
  private readonly client: MusterClient;
  private readonly loops: Promise<void>[] = [];
  private stopping = false;

  /** @param target the member whose admin URLs are written: one that stays */
  constructor(
    endpoints: readonly string[],
    private readonly target: string,
  ) {
    this.client = new MusterClient({ endpoints, timeoutMs: TIMEOUT_MS });
  }

  start(writers = 4): void {
    for (let writer = 0; writer < writers; writer++)
      this.loops.push(
        this.loop(async (n) => {
          // On loopback, where nobody listens: the client tries what the roster says.
          const adminUrls = [
            `http://127.${String(1 + writer)}.${String((n >> 8) & 255)}.${String(n & 255)}:9`,
          ];
          await this.client.updateAdminUrl({ name: this.target, adminUrls });
        }),
      );
    this.loops.push(
      this.loop(async () => {
        await this.client.getMembers();
      }),
    );
  }

  private async loop(call: (n: number) => Promise<void>): Promise<void> {
    for (let n = 0; !this.stopping; n++) {
      try {
        await call(n);
        this.done += 1;
      } catch (error) {
        this.failures.push(String(error));
      }
    }
  }

  /** Waits until so many more calls were answered: the cluster serves. */
  async served(count = 20): Promise<void> {
    const wanted = this.done + count;
    await until(
      `${String(count)} more calls are answered`,
      () => this.done >= wanted,
      () => this.failures.join("\n"),
    );
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.loops);
    this.client.close();
  }
}

type Method<Req, Res> = (
  client: MembershipServiceClient,
  request: Req,
  metadata: Metadata,
  options: Partial<CallOptions>,
  done: (error: ServiceError | null, response: Res) => void,
) => unknown;

/** Makes one write at the running members in turn until one answers, with the same request id. Rejects when it is refused. */
async function written<Req extends { requestId: string }, Res>(
  cluster: ProcessCluster,
  method: Method<Req, Res>,
  request: Req,
): Promise<Res> {
  const same = { ...request, requestId: randomUUID() };
  let last = "";
  let attempts = 0;
  let answer: Res | undefined;
  await until(
    "the write is answered",
    async () => {
      const member = cluster.running[attempts % cluster.running.length];
      if (member === undefined) throw new Error("no member runs");
      attempts += 1;
      const client = new MembershipServiceClient(member.endpoint, credentials.createInsecure());
      const metadata = new CallMetadata();
      if (attempts > 1) metadata.set("muster-attempt", String(attempts));
      try {
        answer = await new Promise<Res>((resolve, reject) => {
          method(client, same, metadata, { deadline: Date.now() + 5000 }, (error, response) => {
            if (error === null) resolve(response);
            else reject(error);
          });
        });
      } catch (error) {
        last = String(error);
        if (isFinal(error as ServiceError)) throw error;
      } finally {
        client.close();
      }
      return answer !== undefined;
    },
    () => last,
  );
  if (answer === undefined) throw new Error(last);
  return answer;
}

/** Refusals that say nothing of the request. */
const AGAIN = new Set(["NO_LEADER", "NOT_PROPOSED", "OUTCOME_UNKNOWN", "SERVER_STOPPING"]);

function isFinal(error: ServiceError): boolean {
  const { reason } = decodeDetails(error.metadata);
  return reason !== undefined && !AGAIN.has(reason);
}

export function replaceMember(
  cluster: ProcessCluster,
  request: Partial<ReplaceMemberRequest>,
): Promise<ReplaceMemberResponse> {
  const given = ReplaceMemberRequest.fromPartial(request);
  return written(cluster, (client, ...rest) => client.replaceMember(...rest), given);
}

export function updateSettings(
  cluster: ProcessCluster,
  request: Partial<UpdateClusterSettingsRequest>,
): Promise<UpdateClusterSettingsResponse> {
  const given = UpdateClusterSettingsRequest.fromPartial(request);
  return written(cluster, (client, ...rest) => client.updateClusterSettings(...rest), given);
}
