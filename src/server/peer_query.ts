/**
 * Questions to members that this one has no part in yet: at its start, and before a second member joins a cluster of
 * one. One short call each on a channel of its own; no answer is an answer too (null).
 */
import { Metadata } from "@grpc/grpc-js";
import type { ChannelCredentials, ServiceError } from "@grpc/grpc-js";
import { RaftServiceClient } from "../generated/muster/raft/v1/raft_service";
import type { HelloResponse } from "../generated/muster/raft/v1/raft_service";
import { Consistency, MembershipServiceClient } from "../generated/muster/v1/membership_service";
import type { GetMembersResponse } from "../generated/muster/v1/membership_service";
import { dialTarget } from "../transport/service_definition";

const OPTIONS = {
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_retries": 0,
};

export class PeerQuery {
  constructor(
    private readonly credentialsFor: (url: string) => ChannelCredentials,
    private readonly timeoutMs: number,
  ) {}

  /** The roster as the member at `url` has it; it may be old. */
  members(url: string): Promise<GetMembersResponse | null> {
    return this.ask(
      new MembershipServiceClient(dialTarget(url), this.credentialsFor(url), OPTIONS),
      (client, options, done) =>
        client.getMembers({ consistency: Consistency.SERIALIZABLE }, new Metadata(), options, done),
    );
  }

  /** Who listens at `url`. */
  hello(url: string): Promise<HelloResponse | null> {
    return this.ask(
      new RaftServiceClient(dialTarget(url), this.credentialsFor(url), OPTIONS),
      (client, options, done) => client.hello({}, new Metadata(), options, done),
    );
  }

  private ask<C extends { close(): void }, Res>(
    client: C,
    call: (
      client: C,
      options: { deadline: number },
      done: (error: ServiceError | null, response: Res) => void,
    ) => void,
  ): Promise<Res | null> {
    return new Promise((resolve) => {
      call(client, { deadline: Date.now() + this.timeoutMs }, (error, response) => {
        client.close();
        resolve(error === null ? response : null);
      });
    });
  }
}
