/** Bounds the connections to a listener. */
import type { Server } from "@grpc/grpc-js";
import type { Log } from "../base/log";

/** The part of Node's net.Server that bounds connections. */
interface Listening {
  maxConnections: number;
  on(event: "drop", listener: () => void): unknown;
}

/**
 * The sockets on which `server` listens. The library has no option that bounds connections, and no other way to its
 * sockets than this field, which is not part of its documented interface.
 *
 * @throws Error when the library does not have it any more
 */
export function openServers(server: Server): readonly Listening[] {
  const { http2Servers } = server as unknown as { readonly http2Servers?: unknown };
  if (!(http2Servers instanceof Map))
    throw new Error(
      "grpc-js does not have its sockets where connections can be bounded; look for another way",
    );
  return [...(http2Servers as ReadonlyMap<Listening, unknown>).keys()];
}

/** Closes every connection beyond `max` as it comes. Logs one line for each power of two of them. */
export function limitConnections(server: Listening, max: number, url: string, log: Log): void {
  let refused = 0;
  server.maxConnections = max;
  server.on("drop", () => {
    refused++;
    if ((refused & (refused - 1)) !== 0) return;
    log.warn(
      { url, connections: max, refused },
      "refused a connection: this listener has as many as it may have",
    );
  });
}
