/** Text that came from outside, made safe for error messages and logs. Pure. */

/** How many characters of a foreign text an error shows. */
const QUOTED_LENGTH_MAX = 64;

/**
 * `text` in double quotes: at most 64 characters of it, everything but printable ASCII escaped, so that neither control
 * characters nor lone surrogates reach a message, a header or a terminal.
 */
export function quote(text: string): string {
  const shown = text.slice(0, QUOTED_LENGTH_MAX);
  const escaped = shown.replace(/[^\x20-\x7e]|["\\]/g, (char) =>
    char === '"' || char === "\\" ? `\\${char}` : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return text.length > QUOTED_LENGTH_MAX ? `"${escaped}..."` : `"${escaped}"`;
}
