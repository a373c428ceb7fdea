/** Makes text from clients and peers safe for error messages and logs. Pure. */

/** How many characters of such a text a message shows. */
const QUOTED_LENGTH_MAX = 64;

/**
 * `text` in double quotes, at most 64 characters of it. Everything but printable ASCII is escaped, so that control
 * characters and lone surrogates never reach a message, a header or a terminal.
 */
export function quote(text: string): string {
  const shown = text.slice(0, QUOTED_LENGTH_MAX);
  const escaped = shown.replace(/[^\x20-\x7e]|["\\]/g, (char) =>
    char === '"' || char === "\\" ? `\\${char}` : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return text.length > QUOTED_LENGTH_MAX ? `"${escaped}..."` : `"${escaped}"`;
}
