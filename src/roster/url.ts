/**
 * Peer and admin URLs: `http://` or `https://`, host and port, nothing else, in one normal form. The only parser of them:
 * what dials and what listens takes the normal form apart (base/address.ts).
 *
 * Not parsed by the platform's URL class, which drops default ports and accepts paths, users, octal and shortened
 * addresses: with those, two spellings of one address could pass as the peer URLs of two members. The platform only has
 * a veto: a host that it does not read, such as `xn--a`, can't be dialled.
 *
 * A port is always given: `http://host:80` keeps its port, and `https://host` is refused, because it does not say where.
 *
 * Sources: RFC 3986 section 3.2 (authority), RFC 1123 section 2.1 (host names), RFC 4291 section 2.2 and RFC 5952
 * section 4 (IPv6 text). Pure.
 */
import { quote } from "./text";

/** Longest URL accepted, in characters. */
export const URL_LENGTH_MAX = 512;

type NormalisedUrl =
  { readonly ok: true; readonly url: string } | { readonly ok: false; readonly problem: string };

/**
 * The normal form of `text`: scheme and host in lower case, an IPv6 address in brackets as RFC 5952 writes it, the port
 * without leading zeros. For an invalid URL the problem, worded to follow the field's name in a message.
 */
export function normaliseUrl(text: string): NormalisedUrl {
  if (text === "") return problem("must not be empty");
  if (text.length > URL_LENGTH_MAX)
    return problem(`must be at most ${URL_LENGTH_MAX} characters, not ${text.length}`);
  if (!/^[\x21-\x7e]+$/.test(text)) {
    return problem(
      `must be ASCII without spaces (an international host name in its xn-- form): ${quote(text)}`,
    );
  }
  const scheme = /^(https?):\/\//i.exec(text);
  if (scheme === null) return problem(`must start with http:// or https://: ${quote(text)}`);
  const [prefix, schemeName = ""] = scheme;
  const authority = text.slice(prefix.length);

  const extra = unwantedPart(authority);
  if (extra !== null) return problem(`must be scheme, host and port only, without ${extra}: ${quote(text)}`);
  return normaliseAuthority(schemeName.toLowerCase(), authority, text);
}

/**
 * As normaliseUrl, for a URL at which a member says it is reached: not 0.0.0.0 or [::], which stand for every address of
 * the machine that dials.
 */
export function normaliseReachableUrl(text: string): NormalisedUrl {
  const result = normaliseUrl(text);
  if (!result.ok || !UNSPECIFIED.test(result.url)) return result;
  return problem(
    `must be an address at which others reach it; 0.0.0.0 and [::] are for listening only: ${quote(text)}`,
  );
}

/** The addresses that mean "every address of this machine", as IPv4, IPv6, and IPv4 within IPv6. */
const UNSPECIFIED = /^https?:\/\/(0\.0\.0\.0|\[::\]|\[::ffff:0:0\]):/;

/** As normaliseReachableUrl, for a peer URL. Members are served over http only: this version has no TLS between them. */
export function normalisePeerUrl(text: string): NormalisedUrl {
  const result = normaliseReachableUrl(text);
  if (!result.ok || result.url.startsWith("http://")) return result;
  return problem(`must start with http://: this version serves peers over http only: ${quote(text)}`);
}

function normaliseAuthority(scheme: string, authority: string, text: string): NormalisedUrl {
  const split = /^(\[[^\]]*\]|[^:[\]]*)(?::([0-9]*))?$/.exec(authority);
  if (split === null) {
    const hint = /^[0-9a-f:.]+$/i.test(authority) ? " (an IPv6 address goes in brackets)" : "";
    return problem(`must have the form scheme://host:port${hint}: ${quote(text)}`);
  }
  const [, hostText = "", portText = ""] = split;
  const host = normaliseHost(hostText);
  if (host === null) return problem(`must have a valid host name or address: ${quote(text)}`);
  if (portText === "") return problem(`must have a port: ${quote(text)}`);
  const port = Number(portText);
  if (portText.length > 5 || port < 1 || port > 65535) {
    return problem(`must have a port from 1 to 65535: ${quote(text)}`);
  }
  if (!isReadAs(host)) return problem(`must have a valid host name or address: ${quote(text)}`);
  return { ok: true, url: `${scheme}://${host}:${port}` };
}

/**
 * Whether the platform, which dials, reads the same host. Of what normaliseHost makes, only `xn--` labels may differ; the
 * others are not asked about, because that costs more than all the rest of a write's checks.
 */
function isReadAs(host: string): boolean {
  if (!host.includes("xn--")) return true;
  const url = `http://${host}:1`;
  return URL.canParse(url) && new URL(url).hostname === host;
}

function problem(text: string): NormalisedUrl {
  return { ok: false, problem: text };
}

/** The part that a URL may not have beside host and port, or null. */
function unwantedPart(authority: string): string | null {
  const found = /[/?#@]/.exec(authority);
  if (found === null) return null;
  // The first mark decides: an "@" ends the user in front of the host, the others end the authority (RFC 3986).
  switch (found[0]) {
    case "/":
      return "a path";
    case "?":
      return "a query";
    case "#":
      return "a fragment";
    default:
      return "a user";
  }
}

function normaliseHost(text: string): string | null {
  if (text.startsWith("[")) {
    const groups = parseIpv6(text.slice(1, -1));
    return groups === null ? null : `[${formatIpv6(groups)}]`;
  }
  const host = text.toLowerCase();
  const labels = host.split(".");
  // A last label of digits only, or in hex, is no host name: the platform would parse it as an IPv4 address.
  if (/^([0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? "")) return parseIpv4(host) === null ? null : host;
  // RFC 1123 allows no underscores in host names, but container networks use and resolve them.
  const valid = host.length <= 253 && labels.every((label) => /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/.test(label));
  return valid ? host : null;
}

/** The four bytes of a dotted address. Leading zeros are refused: some parsers take them for octal. */
function parseIpv4(text: string): number[] | null {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part))) return null;
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : null;
}

/** The eight 16-bit groups of an IPv6 address. Zone ids are refused: they mean something on one machine only. */
function parseIpv6(text: string): number[] | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const [head, tail] = halves.map((half, i) => parseGroups(half, i === halves.length - 1));
  if (head === null || head === undefined || tail === null) return null;
  if (tail === undefined) return head.length === 8 ? head : null;
  const missing = 8 - head.length - tail.length;
  return missing < 1 ? null : [...head, ...new Array<number>(missing).fill(0), ...tail];
}

/** The groups between colons. At the end of the address the last two may be written as a dotted IPv4 address. */
function parseGroups(text: string, atEnd: boolean): number[] | null {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [i, part] of parts.entries()) {
    if (atEnd && i === parts.length - 1 && part.includes(".")) {
      const bytes = parseIpv4(part);
      if (bytes === null) return null;
      const [a = 0, b = 0, c = 0, d = 0] = bytes;
      groups.push(a * 256 + b, c * 256 + d);
    } else {
      if (!/^[0-9a-f]{1,4}$/i.test(part)) return null;
      groups.push(parseInt(part, 16));
    }
  }
  return groups;
}

/** RFC 5952: no leading zeros, the first longest run of two or more zero groups as "::". */
function formatIpv6(groups: readonly number[]): string {
  let start = -1;
  let length = 1;
  for (let i = 0; i < groups.length; i++) {
    let end = i;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
  }
  const hex = groups.map((group) => group.toString(16));
  if (start < 0) return hex.join(":");
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}
