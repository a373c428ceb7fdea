/**
 * The addresses of members: `host:port`, `http://host:port` or `https://host:port`.
 *
 * A wrong address is refused when the client is constructed, not when it is first used.
 */

/** An endpoint or a timeout that the client can't use. The message is one line for people. */
export class ClientConfigError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ClientConfigError";
  }
}

/** One valid address. */
export interface Endpoint {
  /** `host:port` in lower case; IPv6 hosts in brackets. */
  readonly authority: string;
  /**
   * The target for grpc-js. The scheme is explicit: without one, grpc-js takes a host with the name of a resolver
   * ("unix") for that resolver.
   */
  readonly target: string;
  /** Whether the address began with `https://`. */
  readonly tls: boolean;
}

/** @throws ClientConfigError unless the text is an address with host and port and nothing else */
export function parseEndpoint(text: string): Endpoint {
  const trimmed = text.trim();
  const schemed = /^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed);
  const match = /^(https?):\/\/([^/]+)\/?$/i.exec(schemed ? trimmed : `http://${trimmed}`);
  const authority = match?.[2];
  if (match === null || authority === undefined) throw wrong(text);
  const parts = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})$/.exec(authority);
  const port = Number(parts?.[2]);
  if (parts === null || port < 1 || port > 65535) throw wrong(text);
  const host = (parts[1] ?? "").toLowerCase();
  const canonical = `${host}:${String(port)}`;
  return { authority: canonical, target: `dns:///${canonical}`, tls: match[1]?.toLowerCase() === "https" };
}

/**
 * Parses a list of addresses; an address that is listed twice counts once.
 * @throws ClientConfigError when the list is empty or an address is wrong
 */
export function parseEndpoints(texts: readonly string[]): Endpoint[] {
  const byTarget = new Map<string, Endpoint>();
  for (const text of texts) {
    const endpoint = parseEndpoint(text);
    byTarget.set(`${endpoint.tls ? "https" : "http"} ${endpoint.target}`, endpoint);
  }
  if (byTarget.size === 0) throw new ClientConfigError("at least one endpoint is needed");
  return [...byTarget.values()];
}

function wrong(text: string): ClientConfigError {
  return new ClientConfigError(
    `bad endpoint ${JSON.stringify(text)}: want host:port, http://host:port or https://host:port`,
  );
}
