/**
 * Host and port of a URL in its normal form, for what dials and what listens.
 *
 * Which URLs are accepted, and their normal form, is decided in one place, src/roster/url.ts. This only takes the normal
 * form apart, and refuses every other text, so that no second parser can read another host or port.
 */

/** What a listener binds or a channel connects to. */
interface Address {
  readonly secure: boolean;
  /** A name, an IPv4 address, or an IPv6 address in brackets. */
  readonly host: string;
  /** 1 to 65535. Never left out: the default port of the scheme is written like any other. */
  readonly port: number;
}

const NORMAL_FORM = /^(https?):\/\/([a-z0-9._-]+|\[[0-9a-f:]+\]):([1-9][0-9]{0,4})$/;

/** The address of a normalised URL; null for any other text, and for a host that the platform can't connect to. */
export function addressOf(url: string): Address | null {
  const [, scheme, host, portText] = NORMAL_FORM.exec(url) ?? [];
  if (host === undefined || portText === undefined) return null;
  const port = Number(portText);
  // HTTP/2 clients parse the host again, and throw in a later turn of the loop where it is none to them.
  if (port > 65535 || !URL.canParse(`http://${host}:${port}`)) return null;
  return { secure: scheme === "https", host, port };
}
