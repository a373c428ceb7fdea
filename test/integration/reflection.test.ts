/** Server reflection over the wire, v1 and v1alpha: the services are listed, and described with all that they import. */
import { join } from "node:path";
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import type { ClientDuplexStream, GrpcObject, ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { TestCluster } from "./support/cluster";

jest.setTimeout(30_000);

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start(1);
});
afterAll(() => cluster.stop());

interface Answer {
  readonly list_services_response?: { readonly service: readonly { readonly name: string }[] };
  readonly file_descriptor_response?: { readonly file_descriptor_proto: readonly Buffer[] };
  readonly error_response?: { readonly error_code: number };
}

type Reflect = (request: object) => Promise<Answer>;

function reflection(version: "v1" | "v1alpha"): { readonly ask: Reflect; readonly close: () => void } {
  const folder = join(require.resolve("@grpc/reflection"), "../../proto/grpc/reflection", version);
  const loaded = loadPackageDefinition(
    loadSync(join(folder, "reflection.proto"), { keepCase: true, oneofs: true }),
  );
  const service = ["grpc", "reflection", version, "ServerReflection"].reduce<unknown>(
    (at, key) => (at as GrpcObject)[key],
    loaded,
  ) as ServiceClientConstructor;
  const [member] = cluster.members;
  const client = new service(new URL(member?.config.adminUrl ?? "").host, credentials.createInsecure());
  const open = client["ServerReflectionInfo"]?.bind(client) as unknown as () => ClientDuplexStream<
    object,
    Answer
  >;
  const ask: Reflect = (request) =>
    new Promise((resolve, reject) => {
      const stream = open();
      stream.on("error", reject);
      stream.on("data", (answer: Answer) => {
        resolve(answer);
        stream.end();
      });
      stream.write(request);
    });
  return {
    ask,
    close: () => {
      client.close();
    },
  };
}

describe.each(["v1", "v1alpha"] as const)("%s", (version) => {
  test("lists the clients' services, and no others of ours", async () => {
    const { ask, close } = reflection(version);
    const { list_services_response: list } = await ask({ list_services: "" });
    const names = list?.service.map(({ name }) => name) ?? [];
    expect(names).toEqual(expect.arrayContaining(["muster.v1.MembershipService", "grpc.health.v1.Health"]));
    expect(names.filter((name) => name.startsWith("muster.raft"))).toEqual([]);
    close();
  });

  test("describes the service, its messages, and the well-known types that they use", async () => {
    const { ask, close } = reflection(version);
    for (const symbol of [
      "muster.v1.MembershipService",
      "muster.v1.AddMemberRequest",
      "muster.v1.MemberStatus",
    ]) {
      const { file_descriptor_response: files } = await ask({ file_containing_symbol: symbol });
      const text = Buffer.concat([...(files?.file_descriptor_proto ?? [])]).toString("latin1");
      expect(text).toContain(symbol.split(".").at(-1));
      expect(text).toContain("google/protobuf/duration.proto");
    }
    const { file_descriptor_response: duration } = await ask({
      file_by_filename: "google/protobuf/duration.proto",
    });
    expect(duration?.file_descriptor_proto.length).toBeGreaterThan(0);
    const { error_response: error } = await ask({ file_containing_symbol: "muster.v1.Nothing" });
    expect(error?.error_code).toBe(5);
    close();
  });
});
