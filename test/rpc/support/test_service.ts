/** A service whose messages are texts, a client of it, and a port to serve it on. */
import { createServer } from "node:net";
import { Client, Metadata, credentials } from "@grpc/grpc-js";
import type { ClientReadableStream, ClientUnaryCall, ServiceError } from "@grpc/grpc-js";

const encode = (value: string): Buffer => Buffer.from(value);

function decode(bytes: Buffer): string {
  if (bytes[0] === 0xff) throw new Error("index out of range");
  return bytes.toString();
}

const codec = {
  requestSerialize: encode,
  requestDeserialize: decode,
  responseSerialize: encode,
  responseDeserialize: decode,
};

export const TEST_SERVICE = {
  echo: { path: "/test.v1.TestService/Echo", requestStream: false, responseStream: false, ...codec },
  list: { path: "/test.v1.TestService/List", requestStream: false, responseStream: true, ...codec },
} as const;

/** Bytes that the service's decoder refuses. */
export const UNDECODABLE = Buffer.from([0xff]);

/** A port of the loopback interface on which nothing listens. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
  });
}

export interface Ended {
  readonly error: ServiceError | null;
  readonly answer: string | undefined;
}

export interface CallSettings {
  readonly headers?: Metadata;
  /** Milliseconds from now. @default none */
  readonly deadlineMs?: number;
}

export class TestClient {
  private readonly client: Client;

  constructor(port: number) {
    this.client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  echo(
    request: string | Buffer,
    settings: CallSettings = {},
  ): { call: ClientUnaryCall; ended: Promise<Ended> } {
    let call!: ClientUnaryCall;
    const ended = new Promise<Ended>((resolve) => {
      call = this.client.makeUnaryRequest(
        TEST_SERVICE.echo.path,
        Buffer.from,
        decode,
        request,
        settings.headers ?? new Metadata(),
        settings.deadlineMs === undefined ? {} : { deadline: Date.now() + settings.deadlineMs },
        (error, answer) => {
          resolve({ error, answer });
        },
      );
    });
    return { call, ended };
  }

  /** The stream takes a few messages and then no more, until something reads it. */
  list(request: string | Buffer): ClientReadableStream<string> {
    const stream = this.client.makeServerStreamRequest(TEST_SERVICE.list.path, Buffer.from, decode, request);
    // grpc-js buffers without bound until it is first asked for a message.
    stream.read(0);
    return stream;
  }

  close(): void {
    this.client.close();
  }
}
